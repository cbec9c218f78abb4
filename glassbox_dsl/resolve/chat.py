"""Chat templates: the Jinja text that a model ships, run in a sandbox with what transformers gives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


class ChatRefused(Exception):
    """Why messages cannot be rendered, in words that follow a colon."""


def render_chat(template: str, messages: list[dict[str, str]], special_tokens: Mapping[str, str]) -> str:
    """Messages as one text, with the header of the answer at its end, or ChatRefused."""
    import jinja2

    try:
        return _compiled(template).render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **special_tokens,
        )
    except jinja2.TemplateError as error:
        raise ChatRefused(f"its chat template refuses ({error})") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ChatRefused(f"its chat template fails ({error})") from error


@cache
def _compiled(template: str) -> Template:
    """The template in an environment with the filters, functions and block trimming of transformers."""
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant said; here it only stands for its body."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            """The body of the block."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise ChatRefused(f"its chat template cannot be read ({error})") from error


def _raise(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML characters, which has no place in a prompt."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
