"""Which words are keywords where they stand: a contextual lexer that asks the whole parser, not its present state.

An LALR state stands for several contexts at once: behind a list it can take whatever follows a list anywhere in
the language, so that Lark's lexer would see the keyword `answer` in `slots { a from ["x"] answer from ["y"] }`,
where only a name can stand. Following the reductions that a keyword would cause tells the contexts apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lark import Token
from lark.lexer import ContextualLexer
from lark.parsers.lalr_analysis import Shift


class ExactContextualLexer(ContextualLexer):
    """Lark's contextual lexer, with a word that the parser could not take as a keyword made a name."""

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        """Yield one token for each that the parser asks for; raises lark's UnexpectedInput."""
        for token in super().lex(lexer_state, parser_state):
            if (
                token.value.isidentifier()
                and token.type != "NAME"
                and not _can_take(parser_state, token.type)
            ):
                token.type = "NAME"
            yield token


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
