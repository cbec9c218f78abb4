"""The types of values on the command line, beside click's own."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any, Final

import click

# Shells complete both with files. Whether a file is there and can be read, the stages say.
PATH: Final = click.Path(path_type=Path, readable=False)
PATH_OR_NAME: Final = click.Path(path_type=str, readable=False)


class Number(click.FloatRange):
    """A finite number within bounds; its name stands in messages and in the help."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. NaN compares as within any bounds, so it is refused before."""
        number = super().convert(value, param, ctx)
        return number if isfinite(number) else self.fail(f"{number} is not finite.", param, ctx)
