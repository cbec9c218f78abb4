"""The stage of each run: what a value or a set reads is made before it, whichever experiment it stands in.

Experiments may read each other, as long as no declaration needs itself: what counts is runs, not experiments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from glassbox_dsl.plan.demand import Demand, Wanted, sets_of, uses_in
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.syntax import nodes


@dataclass
class Stages:
    """Stages of all runs that some settings of one model demand; a run is made no earlier than what climbs with it."""

    settings: Sequence[tuple[Setting, Demand]]
    known: dict[tuple[int, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.homes = {(s.experiment.name, s.data_name): place for place, (s, _) in enumerate(self.settings)}

    def of(self, place: int, run: str) -> int:
        """The stage of a run of the setting at a place; 0 for one that is made elsewhere."""
        key = (place, run)
        wanted = self.settings[place][1].steps.get(run)
        if key not in self.known and wanted is not None:
            self.known[key] = self._of(place, wanted)
        return self.known.get(key, 0)

    def _of(self, place: int, wanted: Wanted) -> int:
        demand = self.settings[place][1]
        before = self._behind(place, sets_of(wanted.run))
        for variant in wanted.run.variants:
            for edit in variant.edits:
                copied = demand.copied(edit, wanted.run)
                if copied is not None:
                    before = max(before, self.of(place, copied.run.run))
                else:
                    before = max(before, self._behind(place, [edit.value]))
        # The other run of a metric of two climbs along, so what its edits compute with has to be there too.
        guests = (
            t.other.run.run for t in wanted.taps if t.other is not None and demand.beside(t.other, wanted.run)
        )
        return max([before, *(self.of(place, guest) for guest in guests)])

    def _behind(self, place: int, read: Iterable[nodes.Node]) -> int:
        """The stage behind everything that some values read."""
        return max((self.of(*use) + 1 for node in read for use in self._uses(place, node)), default=0)

    def _uses(self, place: int, node: nodes.Node) -> Iterator[tuple[int, str]]:
        """The runs that a value reads, through fits, and lets and measures of these settings, too."""
        setting = self.settings[place][0]
        known = {name: self.settings[home][0].experiment for (name, data), home in self.homes.items()
                 if data == setting.data_name}  # fmt: skip
        for experiment, use in uses_in(node, setting.experiment, known):
            yield self.homes[experiment.name, setting.data_name], use.run
