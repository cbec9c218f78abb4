"""The types of values on the command line, beside click's own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

# Shells complete both with files. Whether a file is there and can be read, the stages say.
PATH: Final = click.Path(path_type=Path, readable=False)
PATH_OR_NAME: Final = click.Path(path_type=str, readable=False)


class Number(click.FloatRange):
    """A number within bounds; its name stands in messages and in the help."""

    name = "number"
