"""A page as one HTML text that needs nothing else: no network, no other file, and no script but its own.

Data can reach the page in two ways only: as text that Jinja escapes, and as JSON in a block that is never
run. The content security policy names the page's one script and one style sheet by hash, so that anything
that slipped past the first line of defence would not run either.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemBytecodeCache,
    FileSystemLoader,
    FunctionLoader,
    StrictUndefined,
)
from markupsafe import Markup, escape

from glassbox_dsl.report.chart import charts
from glassbox_dsl.report.page import Figure, Page
from glassbox_dsl.report.visible import visible, visible_source
from glassbox_dsl.resolve.bundled import cache_folder

TEMPLATES = Path(__file__).resolve().parent / "templates"
SCRIPTS = ("base.js", "grid.js", "lens.js", "attention.js")
READY = 'document.documentElement.dataset.scripts = "ready";'
FIGURE = "figure/"
"""What the names of templates begin with that charts bring along."""
FAILED = '<div class="failed-figure" role="alert">{{ figure.text|lines }}</div>'


def render_page(page: Page, refresh_seconds: int | None = None) -> str:
    """The HTML of a page; a page of a run that goes on may load itself again every so often."""
    style, script = asset(("style.css",)), "{\n" + asset(SCRIPTS) + READY + "\n}"
    html = (
        environment()
        .get_template("page.html")
        .render(
            page=page,
            refresh_seconds=refresh_seconds,
            figures=[(figure, body(figure)) for figure in page.figures],
            policy=policy(script, style),
            script=Markup(script),
            style=Markup(style),
        )
    )
    return html.lstrip()


def body(figure: Figure) -> Markup:
    """A figure drawn by the template of its chart; one that could not be made says why."""
    return Markup(environment().get_template(FIGURE + figure.kind).render(figure=figure))


def _of_figure(name: str) -> str | None:
    """The template of a kind of figure, by its name."""
    if not name.startswith(FIGURE):
        return None
    kind = name.removeprefix(FIGURE)
    return FAILED if kind == "failed" else charts()[kind].template


def policy(script: str, style: str) -> str:
    """The content security policy: this script, this style sheet, pictures inside the page, nothing else."""
    return (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """The hash of an inline script or style as a policy names it."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def as_data(value: Any) -> Markup:
    """JSON that cannot end its script block, with every hidden character of its texts shown."""
    text = json.dumps(_shown(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {str(name): _shown(part) for name, part in value.items()}
    return [_shown(part) for part in value] if isinstance(value, list | tuple) else value


def lines(text: str) -> Markup:
    """Text of several lines, escaped, with every other hidden character shown."""
    return escape(visible_source(text))


def finalize(value: Any) -> Any:
    """What every expression of a template goes through: texts show what they hide."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def environment() -> Environment:
    """Templates that escape every text and show what it hides."""
    environment = Environment(
        loader=ChoiceLoader([FunctionLoader(_of_figure), FileSystemLoader(TEMPLATES)]),
        bytecode_cache=_compiled(),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data"] = as_data
    environment.filters["lines"] = lines
    return environment


def _compiled() -> FileSystemBytecodeCache | None:
    """Templates that were compiled before, by this code; None where the user's cache cannot be written."""
    made_by = sha256(Path(__file__).read_bytes() + version("jinja2").encode()).hexdigest()[:16]
    folder = cache_folder() / "templates" / made_by
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return FileSystemBytecodeCache(str(folder)) if os.access(folder, os.W_OK) else None


@cache
def asset(names: tuple[str, ...]) -> str:
    """The text of some files of the templates."""
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
