"""Equal cells of different runs, experiments or items: found by what their edits come to, and made once.

Two cells are equal when they stand on the same base and everything that their edits write is the same: the sites,
layers and positions, and the rows that are copied, or the value that is computed, whatever the runs and variables
are called. A computed value counts as equal on the same item of the same data set only, written from equal parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from glassbox_dsl.language.program import Constant, Operation, OwnValue, Reference, VariableValue
from glassbox_dsl.language.set_nodes import SetReference
from glassbox_dsl.plan.canonical import Writer, digest, written
from glassbox_dsl.plan.copies import split_edits, variables_used
from glassbox_dsl.plan.lowering import Touch
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import EditPart, Twin
from glassbox_dsl.syntax.nodes import everything


@dataclass
class Twins:
    """The edited cells of one pack: the owner of each key, and the edits and row that an owner was made for."""

    owners: dict[bytes, int] = field(default_factory=dict)
    made_for: dict[int, tuple[list[EditPart], int]] = field(default_factory=dict)
    writers: dict[int, Writer] = field(default_factory=dict)
    values: dict[EditPart, tuple[bytes, set[str]]] = field(default_factory=dict)
    found: list[Twin] = field(default_factory=list)

    def keys(self, bases: Integers, touches: Sequence[Touch]) -> list[bytes]:
        """What each row [row] comes to above its base."""
        parts: list[list[bytes]] = [[b"%d" % base] for base in bases.tolist()]
        for touch in touches:
            order = np.argsort(touch.number, kind="stable")
            rows, starts = np.unique(touch.number[order], return_index=True)
            about = repr((touch.part.edit.site, touch.layer, touch.part.edit.op)).encode()
            groups = np.split(order, starts[1:]) if len(rows) else []
            for row, pairs in zip(rows.tolist(), groups, strict=True):
                parts[row] += [about, *self._written(touch, row, pairs)]
        return [digest(*some) for some in parts]

    def _written(self, touch: Touch, row: int, pairs: Integers) -> list[bytes]:
        """The places [pair] that a touch writes in a row, and with what."""
        mask = b"" if touch.mask is None else repr(touch.mask.shape).encode() + touch.mask[pairs].tobytes()
        places = [touch.position[pairs].tobytes(), mask]
        if touch.source is None or touch.source_owner is None:
            return [*places, self._computed(touch.part, row)]
        return [*places, touch.source[pairs].tobytes(), touch.source_owner[pairs].tobytes()]

    def _computed(self, part: EditPart, row: int) -> bytes:
        """What the value of an edit comes to in a row: its text in canonical form, its variables, its item."""
        if part not in self.values:
            self.values[part] = self._value(part)
        content, used = self.values[part]
        run, setting = part.job.run, part.job.setting
        shape = setting.shape(run)
        places = np.unravel_index(int(part.cells[row]), shape) if used else ()
        bound = [
            (variable.name, cell.at, cell.number, cell.text, cell.index)
            for dimension, place in zip(run.dimensions if used else (), places, strict=True)
            for variable, cell in zip(dimension.variables, setting.rows(dimension)[int(place)], strict=True)
            if variable.name in used
        ]
        item = (id(setting.data), part.variant.prompt, part.job.extension, int(part.items[row]))
        return digest(content, written(bound), repr(item).encode())

    def _value(self, part: EditPart) -> tuple[bytes, set[str]]:
        """What the value of an edit is in canonical form, and the variables that it may depend on."""
        setting, run, value = part.job.setting, part.job.run, part.edit.value
        nodes = list(everything(value))
        # Values of other kinds may depend on a variable that they do not name: all of the run's count.
        used = {v.name for d in run.dimensions for v in d.variables}
        if part.place in split_edits(run, part.variant)[0]:
            used = set()
        elif all(isinstance(n, Constant | Operation | OwnValue | VariableValue) for n in nodes):
            used = variables_used(value)
        if any(
            isinstance(n, Reference | SetReference) and n.experiment != setting.experiment.name for n in nodes
        ):
            return b"alone" + repr((part.job.key, id(part.job), part.place)).encode(), used
        if id(setting) not in self.writers:
            own = {setting.experiment.name: setting.experiment}
            self.writers[id(setting)] = Writer(setting.experiment, own)
        return self.writers[id(setting)].node(value).key, used

    def note(self, keys: Sequence[bytes], rows: Integers, owners: Integers, touches: Sequence[Touch]) -> None:
        """Remember the cells that `owners` [n] were made for: `rows` [n] of `keys` [row]."""
        parts = _parts(len(keys), touches)
        for row, owner in zip(rows.tolist(), owners.tolist(), strict=True):
            self.owners[keys[row]] = owner
            self.made_for[owner] = parts[row], row

    def each_once(self) -> tuple[Twin, ...]:
        """Every pair of equal cells once for two edits: what an edit did in a base is noted under a cell above it."""
        groups: defaultdict[object, list[Twin]] = defaultdict(list)
        for twin in self.found:
            groups[twin.key, twin.of].append(twin)
        return tuple(_merged(twins) for twins in groups.values())

    def pair(self, rows: Integers, owners: Integers, touches: Sequence[Touch]) -> None:
        """Rows [n] that share the owners [n] of equal cells: note whose receipts their edits have."""
        parts = _parts(int(rows.max(initial=-1)) + 1, touches)
        pairs: defaultdict[tuple[EditPart, EditPart], list[tuple[int, int]]] = defaultdict(list)
        for row, owner in zip(rows.tolist(), owners.tolist(), strict=True):
            others, other = self.made_for[owner]
            for part, of in zip(parts[row], others, strict=True):
                pairs[part, of].append((row, other))
        for (part, of), both in pairs.items():
            mine, theirs = np.array(both, dtype=np.int64).T
            cells, items = part.cells[mine], part.items[mine]
            self.found.append(Twin(part.key, cells, items, of.key, of.cells[theirs], of.items[theirs]))


def _parts(n: int, touches: Sequence[Touch]) -> list[list[EditPart]]:
    """The edits that touch each row [row], in the order of what they write."""
    found: list[list[EditPart]] = [[] for _ in range(n)]
    for touch in touches:
        for row in np.unique(touch.number[touch.number < n]).tolist():
            if all(part is not touch.part for part in found[row]):
                found[row].append(touch.part)
    return found


def _merged(twins: Sequence[Twin]) -> Twin:
    columns = [np.stack([t.cells, t.items, t.of_cells, t.of_items]) for t in twins]
    cells, items, of_cells, of_items = np.unique(np.concatenate(columns, 1), axis=1)
    return Twin(twins[0].key, cells, items, twins[0].of, of_cells, of_items)
