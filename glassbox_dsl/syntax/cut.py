"""Where the statements of a broken block start, told from the lexemes alone.

In a sound file two values never stand side by side, so a name behind the end of a value starts a statement.
In a broken one a known word at the start of a line, with what must follow it, starts one in any place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from glassbox_dsl.source import Source
from glassbox_dsl.syntax.blocks import BLOCKS, Block
from glassbox_dsl.syntax.brackets import ends_value, outermost
from glassbox_dsl.syntax.scan import Lexeme

_ASSIGNMENTS = {":=", "+=", "-=", "*=", "="}
_AFTER_NAME = {
    "model": {"="}, "data": {"{"}, "metric": {"("}, "let": {"=", "["}, "hypothesis": {"{"},
    "prompt": {"="}, "answer": {"="}, "feature": {"=", "["},
    "run": {"=", "["}, "measure": {"=", "["}, "record": {"=", "["}, "fit": {"=", "["}, "circuit": {"=", "["},
    "node": {"="},
}  # fmt: skip


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
        places = list(outermost(self.lexemes, self.partner, start, end))
        targets = self._targets(places) if block.rule == "edit" else set()
        for i in places:
            if self.lexemes[i].kind != "name":
                continue
            after_value = i == start or (ends_value(self.lexemes[i - 1]) and latest != i - 1)
            possible = after_value and (i in targets or self._may_start(block, i, start))
            if possible or self._must_start(block, i):
                latest = i
                yield i

    def _may_start(self, block: Block, i: int, start: int) -> bool:
        """Whether a name behind the end of a value is the head of a statement."""
        text = self.lexemes[i].text
        if block.rule == "slot_line":
            return text != "from" and (i == start or self.lexemes[i - 1].text != "from")
        if text in block.forms or i == start:
            return True
        if text in {"during", "else", "agree", "from", "where", "seed", "in"}:
            return False
        following = self.lexemes[i + 1] if i + 1 < len(self.lexemes) else None
        two_names = following is not None and following.kind in {"name", "string"}
        if block.rule == "item":
            return two_names
        return self.starts_line(i) and (two_names or block.rule == "edit")

    def _must_start(self, block: Block, i: int) -> bool:
        """Whether a lexeme starts its line and looks like nothing but the head of a statement."""
        if not self.starts_line(i):
            return False
        if block.rule == "item":
            shape = [lexeme.kind for lexeme in self.lexemes[i : i + 2]]
            return shape in (["name", "name"], ["name", "string"])
        return self.lexemes[i].text in block.forms and self.is_whole_head(i)

    def is_whole_head(self, i: int) -> bool:
        """Whether what must follow the head of a statement does: `model NAME =`, `experiment NAME {`, ..."""
        word, *rest = self.lexemes[i : i + 4]
        kinds, texts = [lexeme.kind for lexeme in rest], [lexeme.text for lexeme in rest]
        if word.text == "import":
            return kinds[:1] == ["string"]
        if word.text in {"experiment", "report"}:
            titled = kinds[1:2] == ["string"] and texts[2:3] == ["{"]
            return kinds[:1] == ["name"] and (titled or texts[1:2] == ["{"])
        return kinds[:1] == ["name"] and len(texts) > 1 and texts[1] in _AFTER_NAME.get(word.text, ())

    def declarations(self) -> list[int]:
        """The lexemes at the margin that can only start a declaration, whatever bracket seems to be open."""
        heads = BLOCKS["file"].forms
        return [
            i
            for i, lexeme in enumerate(self.lexemes)
            if lexeme.text in heads and self.columns[i] == 1 and self.is_whole_head(i)
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
                found.add(k)
        return found
