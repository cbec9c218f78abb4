"""What a chart file says of itself, and the registry of all of them: one file each in charts/, found by the
folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Block, Figure
from glassbox_dsl.report.spec import ItemSpec

FOLDER = Path(__file__).resolve().parent / "charts"


@dataclass(frozen=True)
class Chart:
    """One kind of report item.

    `build` turns (item, what the run stored, key of the figure in the page) into a figure; `template` is the
    Jinja source of its body, which sees the figure as `figure` and may import `parts.html`. `still` gives the parts of
    the same figure on paper, where it is not Altair that draws it.
    """

    name: str
    summary: str
    build: Callable[[ItemSpec, Material, str], Figure]
    template: str
    still: Callable[[ItemSpec, Material], tuple[Block, ...]] | None = None


@cache
def charts(folder: Path = FOLDER) -> dict[str, Chart]:
    """All charts by name."""
    found = (
        import_module(f"glassbox_dsl.report.charts.{path.stem}") for path in sorted(folder.glob("[a-z]*.py"))
    )
    return {module.CHART.name: module.CHART for module in found}
