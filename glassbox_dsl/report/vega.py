"""Line and bar charts as still SVG pictures, one for light pages and one for dark ones, through Altair and
vl-convert.

Both come with the extra `charts`; without them a figure shows its table and says what to install. The
pictures stand in the page as `data:` images: nothing in them can run, and the page's style sheet does not
reach into them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glassbox_dsl.report.drawn import DATA, drawn_once
from glassbox_dsl.report.page import Figure

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HUES = {
    "light": ("#0b63a5", "#c2410c", "#0f766e", "#7c3aed", "#a16207", "#be185d", "#4b5563", "#4d7c0f"),
    "dark": ("#6db3f2", "#fb923c", "#2dd4bf", "#b79cff", "#facc15", "#f472b6", "#9ca3af", "#a3e635"),
}
INK = {"light": "#1f2328", "dark": "#e6e8eb"}
SOFT = {"light": "#d5d9de", "dark": "#3a4048"}
ROOM = 20
"""Pixels beside a legend: letters of the reader's font may be wider than those that were measured."""
APART = 11
"""Pixels between the numbers of an axis and its name, for the same reason."""
PLACES = frozenset({"transform", "d", "x", "y", "x1", "x2", "y1", "y2", "width", "height"})
LONG = re.compile(r"-?\d+(?:\.\d+)?e[-+]?\d+|-?\d+\.\d{3,}")
INSTALL = "The picture needs the extra `charts` (pip install 'glassbox-dsl[charts]'); here are its numbers."


@dataclass(frozen=True)
class PictureFigure(Figure):
    """A chart that stands as a picture; both addresses are empty where the extra is not installed."""

    light: str = ""
    dark: str = ""
    width: int = 0
    height: int = 0


@cache
def installed() -> bool:
    """Whether the extra `charts` is there."""
    return find_spec("altair") is not None and find_spec("vl_convert") is not None


def pictures(of: object, chart: Callable[[str], Any]) -> dict[str, Any]:
    """`light`, `dark` (data: addresses), `width` and `height` in pixels of `chart(theme)`, of numbers `of`."""
    if not installed():
        return {}
    code = Path(__file__), Path(chart.__code__.co_filename)
    return drawn_once(of, code, lambda: _drawn(chart))


def _drawn(chart: Callable[[str], Any]) -> dict[str, Any]:
    drawn = {theme: lean(svg(themed(chart(theme), theme))) for theme in ("light", "dark")}
    width, height = size(drawn["light"])
    addresses = {theme: DATA + b64encode(text.encode()).decode() for theme, text in drawn.items()}
    return {**addresses, "width": width, "height": height}


def svg(chart: Any) -> str:
    """An Altair chart as SVG text; nothing is fetched."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[]))


def lean(text: str) -> str:
    """An SVG picture in a third of the bytes: places to a hundredth of a pixel, and no names of marks.

    Nobody hears those in an image: the page says what it shows, and has the numbers in a table.
    """
    from xml.etree import ElementTree

    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(text)
    for element in root.iter():
        for name in [name for name in element.attrib if name.startswith("aria-") or name == "role"]:
            del element.attrib[name]
        for name in PLACES & element.attrib.keys():
            value = element.attrib[name]
            if not value.startswith(("matrix", "scale")):
                element.attrib[name] = LONG.sub(lambda found: f"{float(found[0]):.2f}", value)
    return ElementTree.tostring(root, encoding="unicode")


def size(text: str) -> tuple[int, int]:
    """Width and height of an SVG picture in pixels."""
    from xml.etree.ElementTree import fromstring

    root = fromstring(text)
    return round(float(root.attrib["width"])), round(float(root.attrib["height"]))


def themed(chart: Any, theme: str) -> Any:
    """The chart in the colours and letters of the page."""
    ink, soft = INK[theme], SOFT[theme]
    words = {
        "labelColor": ink,
        "titleColor": ink,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    return chart.configure(
        font=FONT,
        background="transparent",
        padding={"left": 5, "right": 5 + ROOM, "top": 5, "bottom": 5},
        view={"stroke": None},
        axis={**words, "gridColor": soft, "domainColor": soft, "tickColor": soft, "titlePadding": APART},
        legend=words,
        header={**words, "labelFontWeight": "bold"},
        range={"category": list(HUES[theme])},
        mark={"color": HUES[theme][0]},
    )
