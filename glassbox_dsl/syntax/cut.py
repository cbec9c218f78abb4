"""Where the statements of a broken block start, told from the lexemes alone.

In a sound file two values never stand side by side, so a name behind the end of a value starts a statement.
In a broken one a known word at the start of a line, with what must follow it, starts one in any place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from glassbox_dsl.source import Source
from glassbox_dsl.syntax.blocks import BLOCKS, Block, where_it_stands
from glassbox_dsl.syntax.brackets import ends_value, outermost
from glassbox_dsl.syntax.scan import Lexeme

_ASSIGNMENTS = {":=", "+=", "-=", "*=", "="}

# What follows a word that is nothing but the head of a statement; names, strings and numbers by their kind.
_VALUED, _BOUND, _BLOCK = ["name ="], ["name =", "name ["], ["name {"]
_SHAPES = {
    "declaration": {
        "import": ["string"],
        "model": _VALUED,
        "data": _BLOCK,
        "metric": ["name ("],
        "let": _BOUND,
        "experiment": [*_BLOCK, "name string {"],
        "hypothesis": _BLOCK,
        "report": [*_BLOCK, "name string {"],
    },
    "data_item": {
        "from": ["string"],
        "rows": ["["],
        "slots": ["{"],
        "draw": ["number"],
        "prompt": _VALUED,
        "answer": _VALUED,
        "feature": _BOUND,
        "keep": ["name"],
    },
    "exp_item": {
        "models": ["name"],
        "data": ["name"],
        "run": _BOUND,
        "measure": _BOUND,
        "record": _BOUND,
        "let": _BOUND,
        "metric": ["name ("],
        "fit": _BOUND,
        "circuit": _BOUND,
        "expect": [""],
        "hypothesis": _BLOCK,
    },
    "edit": {"path": ["name"], "keep": ["name"]},
    "node": {"node": _VALUED},
}


class Cutter:
    """Finds the statements in a text whose brackets are paired by `partner`."""

    def __init__(self, source: Source, lexemes: Sequence[Lexeme], partner: dict[int, int]) -> None:
        self.lexemes, self.partner = lexemes, partner
        places = [source.place(lexeme.start) for lexeme in lexemes]
        self.lines = [line for line, _ in places]
        self.columns = [column for _, column in places]

    def statements(self, block: Block, start: int, end: int) -> list[tuple[int, int]]:
        """The stretches of single statements; what stands before the first head is the first of them."""
        cuts = list(self._heads(block, start, end))
        if start < end and (not cuts or cuts[0] != start):
            cuts.insert(0, start)
        return list(pairwise([*cuts, end]))

    def _heads(self, block: Block, start: int, end: int) -> Iterator[int]:
        latest = -1
        inside = False  # an inner block whose closing brace is missing: its names are no heads of this block
        places = list(outermost(self.lexemes, self.partner, start, end))
        targets = self._targets(places) if block.rule == "edit" else set()
        for i in places:
            if self.lexemes[i].text == "{" and i not in self.partner and latest >= 0:
                inside = inside or self.lexemes[latest].text in block.inner
            if self.lexemes[i].kind != "name":
                continue
            after_value = i == start or (ends_value(self.lexemes[i - 1]) and latest != i - 1)
            possible = after_value and (i in targets or self._may_start(block, i, start))
            certain = self._must_start(block, i) or (i in targets and self.starts_line(i))
            if certain or (possible and not inside):
                latest, inside = i, False
                yield i

    def _may_start(self, block: Block, i: int, start: int) -> bool:
        """Whether a name behind the end of a value is the head of a statement."""
        text = self.lexemes[i].text
        if block.rule == "slot_line":
            listed = [lexeme.text for lexeme in self.lexemes[i + 1 : i + 2]] in ([","], ["from"])
            source = self.lexemes[i - 1].text == "from"
            return i == start or (text != "from" and not source and (listed or self.starts_line(i)))
        if text in block.forms or i == start:
            return True
        if text in {"during", "else", "agree", "from", "where", "seed", "in"}:
            return False
        following = self.lexemes[i + 1] if i + 1 < len(self.lexemes) else None
        two_names = following is not None and following.kind in {"name", "string"}
        if block.rule == "item":
            return two_names
        return self.starts_line(i) and (two_names or block.rule == "edit" or where_it_stands(text) != "")

    def _must_start(self, block: Block, i: int) -> bool:
        """Whether a lexeme starts its line and looks like nothing but the head of a statement."""
        if not self.starts_line(i):
            return False
        if block.rule == "item":
            shape = [lexeme.kind for lexeme in self.lexemes[i : i + 2]]
            return shape in (["name", "name"], ["name", "string"])
        return self._is_whole_head(block, i)

    def _is_whole_head(self, block: Block, i: int) -> bool:
        shapes = _SHAPES.get(block.rule, {}).get(self.lexemes[i].text, [])
        following = self.lexemes[i + 1 : i + 4]
        shown = " ".join(lexeme.text if lexeme.kind == "mark" else lexeme.kind for lexeme in following)
        return any(shown.startswith(shape) for shape in shapes)

    def declarations(self) -> list[int]:
        """The lexemes at the margin that can only start a declaration, whatever bracket seems to be open."""
        return [
            i
            for i, column in enumerate(self.columns)
            if column == 1 and self._is_whole_head(BLOCKS["file"], i)
        ]

    def starts_line(self, i: int) -> bool:
        """Whether a lexeme is the first of its line."""
        return i == 0 or self.lines[i - 1] != self.lines[i]

    def _targets(self, places: list[int]) -> set[int]:
        """Where the target of an edit starts: back from each assignment over indices and dots."""
        found: set[int] = set()
        for i in places:
            if self.lexemes[i].kind == "mark" and self.lexemes[i].text in _ASSIGNMENTS and i > 0:
                k = self.partner.get(i - 1, i) - 1 if self.lexemes[i - 1].text == "]" else i - 1
                while k > 1 and self.lexemes[k - 1].text == ".":
                    k -= 2
                if self.lexemes[k - 1].text != "->":  # the end of a path
                    found.add(k)
        return found
