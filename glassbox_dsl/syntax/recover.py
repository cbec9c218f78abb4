"""A broken file to the statements that are sound and one finding for each that is not."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedInput

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax import errors, grammar, nodes
from glassbox_dsl.syntax.blocks import BLOCKS, Block
from glassbox_dsl.syntax.brackets import match_brackets, opening
from glassbox_dsl.syntax.cut import Cutter
from glassbox_dsl.syntax.explain import explain
from glassbox_dsl.syntax.scan import Lexeme

MOST_FINDINGS = 100


def by_statements(
    source: Source, thin: Source, lexemes: Sequence[Lexeme], faults: Sequence[Diagnostic], headed: bool
) -> tuple[nodes.File, tuple[Diagnostic, ...]]:
    """What can be read of a file, and what is wrong with the rest; `headed` if it starts with `gbx 1`.

    `thin` breaks where the source does and is quicker to parse.
    """
    span = Span(source, lexemes[0].start, lexemes[-1].end) if lexemes else Span(source, 0, 0)
    reader = _Reader(source, thin, lexemes, faults)
    first = 2 if headed else 0
    if not headed:
        reader.findings.append(errors.no_header(lexemes[0].span(source) if lexemes else Span(source, 0, 0)))
        first = 1 if lexemes and lexemes[0].text == "gbx" else 0
    declarations = reader.statements(BLOCKS["file"], first, len(lexemes))
    findings = sorted(reader.findings, key=_offset)
    if not findings:  # sound piece by piece, but not as a whole
        findings = [
            explain(source, thin, lexemes, 0, len(lexemes), BLOCKS["file"], "start")
            or errors.out_of_place(span)
        ]
    if len(findings) > MOST_FINDINGS:
        findings = [
            *findings[: MOST_FINDINGS - 1],
            errors.first_of_many(findings[MOST_FINDINGS - 1], MOST_FINDINGS),
        ]
    return nodes.File(span=span, version=1, declarations=tuple(declarations)), tuple(findings)


class _Reader:
    """Reads a text piece by piece; `findings` holds one diagnostic for each piece that is broken."""

    def __init__(
        self, source: Source, thin: Source, lexemes: Sequence[Lexeme], faults: Sequence[Diagnostic]
    ) -> None:
        self.source, self.thin, self.lexemes = source, thin, lexemes
        self.findings: list[Diagnostic] = []
        unpaired = Cutter(source, lexemes, {})
        brackets = match_brackets(source, lexemes, unpaired.declarations())
        self.partner = brackets.partner
        self.cutter = Cutter(source, lexemes, self.partner)
        self.faults = sorted([*faults, *brackets.faults], key=_offset)
        self.offsets = [_offset(fault) for fault in self.faults]

    def statements(self, block: Block, start: int, end: int) -> list[Any]:
        """The sound statements of a block that holds `lexemes[start:end]`."""
        found = []
        for first, last in self.cutter.statements(block, start, end):
            if len(self.findings) > MOST_FINDINGS:
                break
            statement = self._statement(block, first, last)
            if statement is not None:
                found.append(statement)
        return found

    def _statement(self, block: Block, start: int, end: int) -> Any:
        fault = self._fault(start, end)
        if fault is None:
            place = self.lexemes[start].start, self.lexemes[end - 1].end
            with suppress(UnexpectedInput):
                if self.thin is not self.source:
                    grammar.tree(self.thin, *place, block.rule)
                return grammar.tree(self.source, *place, block.rule)
        inner = block.inner.get(self.lexemes[start].text)
        brace = opening(self.lexemes, self.partner, start, end) if inner else None
        if inner and brace is not None:
            return self._block(block, BLOCKS[inner], start, brace, end)
        self._report(fault or self._explain(start, end, block))
        return None

    def _block(self, outer: Block, block: Block, start: int, brace: int, end: int) -> Any:
        """A statement with others in braces: its head, each of them, and what follows the closing brace."""
        closing = self.partner.get(brace)
        head = self._head(
            outer, start, brace, self.lexemes[end - 1] if closing is None else self.lexemes[closing]
        )
        items = self.statements(block, brace + 1, end if closing is None else closing)
        if closing is not None and closing + 1 < end:
            self._report(self._fault(closing + 1, end) or self._explain(closing + 1, end, outer))
        return None if head is None else head.changed(**{block.keeps: tuple(items)})

    def _head(self, outer: Block, start: int, brace: int, last: Lexeme) -> nodes.Statement | None:
        """The statement up to its `last` lexeme as if its braces were empty; reports a broken head."""
        self._report(self._fault(start, brace + 1))
        if self._fault(start, brace) is not None:
            return None
        parser = grammar.steps(self.thin, self.lexemes[start].start, self.lexemes[brace].end, outer.rule)
        try:
            parser.exhaust_lexer()
            parser.feed_token(Token("RBRACE", "}", start_pos=last.start, end_pos=last.end))
            statement: nodes.Statement = parser.feed_eof()
        except UnexpectedInput:
            if self._fault(start, brace + 1) is None:
                self._report(self._explain(start, brace + 1, outer))
            return None
        return statement

    def _explain(self, start: int, end: int, block: Block) -> Diagnostic:
        return explain(self.source, self.thin, self.lexemes, start, end, block) or errors.out_of_place(
            self.lexemes[start].span(self.source)
        )

    def _fault(self, start: int, end: int) -> Diagnostic | None:
        """The first problem with a lexeme or a bracket of `lexemes[start:end]`."""
        if start >= end:
            return None
        k = bisect_left(self.offsets, self.lexemes[start].start)
        return (
            self.faults[k] if k < len(self.faults) and self.offsets[k] < self.lexemes[end - 1].end else None
        )

    def _report(self, finding: Diagnostic | None) -> None:
        if finding is not None:
            self.findings.append(finding)


def _offset(diagnostic: Diagnostic) -> int:
    return diagnostic.span.start if diagnostic.span is not None else 0
