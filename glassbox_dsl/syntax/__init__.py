"""Text to tree and back: the only place that knows how a program is written."""

from glassbox_dsl.syntax.parsing import Parsed, parse
from glassbox_dsl.syntax.printing import format_file
from glassbox_dsl.syntax.reading import read_source

__all__ = ["Parsed", "format_file", "parse", "read_source"]
