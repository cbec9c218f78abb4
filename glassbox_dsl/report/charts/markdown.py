"""Prose between the figures: CommonMark without HTML, pictures or anything else that could run or load."""

from __future__ import annotations

from dataclasses import dataclass

from markdown_it import MarkdownIt
from markupsafe import Markup

from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Figure
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.visible import visible_source

LINKS = ("https://", "http://", "mailto:", "#")
LOWEST = 2  # a `#` of the file stands below the page's own title


@dataclass(frozen=True)
class Prose(Figure):
    """Text that has become safe HTML."""

    html: Markup = Markup("")


def build(item: ItemSpec, material: Material, key: str) -> Prose:
    """The figure of one item."""
    return Prose(key=key, kind="markdown", html=prose(str(item.source)))


def prose(text: str) -> Markup:
    """Markdown as HTML: tags in the text are shown, links may lead to http, https and mailto only."""
    reader = MarkdownIt("commonmark", {"html": False}).disable("image")
    reader.validateLink = lambda url: url.lower().startswith(LINKS)  # type: ignore[method-assign]
    tokens = reader.parse(visible_source(text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + LOWEST - 1)}"
    return Markup(reader.renderer.render(tokens, reader.options, {}))


TEMPLATE = '<div class="prose">{{ figure.html }}</div>'

CHART = Chart("markdown", "prose between the figures", build, TEMPLATE)
