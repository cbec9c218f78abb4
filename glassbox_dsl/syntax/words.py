"""The parser's lexer: one pattern for all terminals, and keywords where they stand.

An LALR state stands for several contexts at once: behind a list it can take whatever follows a list anywhere in
the language, so that Lark's own lexer would see the keyword `answer` in `slots { a from ["x"] answer from ["y"] }`,
where only a name can stand. Following the reductions that a keyword would cause tells the contexts apart. And
Lark compiles a pattern for each set of terminals that some state can take, which takes longer than reading a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedCharacters
from lark.lexer import Lexer
from lark.parsers.lalr_analysis import Shift

_WORD_END = r"\b"


class OnePatternLexer(Lexer):
    """Takes the longest terminal wherever it stands; a word is a keyword if the parser can take it as one."""

    def __init__(self, conf: Any, states: Any, always_accept: Any = ()) -> None:
        """Called by Lark with its LexerConf, in the place of its contextual lexer; the states tell nothing."""
        self.keywords = {
            t.pattern.value.removesuffix(_WORD_END): t.name
            for t in conf.terminals
            if t.pattern.value.endswith(_WORD_END)
        }
        others = [t for t in conf.terminals if t.name not in self.keywords.values()]
        others.sort(key=lambda t: (-t.priority, -t.pattern.max_width, -len(t.pattern.value), t.name))
        self.pattern = re.compile("|".join(f"(?P<{t.name}>{t.pattern.to_regexp()})" for t in others))
        self.ignored = frozenset(conf.ignore)

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        """Yield one token for each that the parser asks for; raises lark's UnexpectedInput."""
        text, end = lexer_state.text.text, lexer_state.text.end
        place = lexer_state.line_ctr  # lark's place in the text; lines are not counted
        while place.char_pos < end:
            start = place.char_pos
            found = self.pattern.match(text, start, end)
            if found is None:
                raise UnexpectedCharacters(  # type: ignore[no-untyped-call]
                    text, start, place.line, place.column
                )
            place.char_pos = found.end()
            kind = found.lastgroup
            if kind in self.ignored:
                continue
            token = Token(self._kind(kind, found[0], parser_state), found[0], start)
            token.end_pos = place.char_pos
            lexer_state.last_token = token
            yield token

    def _kind(self, kind: str | None, text: str, parser_state: Any) -> str:
        keyword = self.keywords.get(text) if kind == "NAME" else None
        return keyword if keyword and _can_take(parser_state, keyword) else str(kind)


def _can_take(parser_state: Any, terminal: str) -> bool:
    """Whether the parser, after the reductions that the terminal causes, shifts it."""
    states = parser_state.parse_conf.parse_table.states
    stack = list(parser_state.state_stack)
    while terminal in states[stack[-1]]:
        action, argument = states[stack[-1]][terminal]
        if action is Shift:
            return True
        if argument.expansion:
            del stack[-len(argument.expansion) :]
        stack.append(states[stack[-1]][argument.origin.name][1])
    return False
