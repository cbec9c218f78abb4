"""What can be said to the user: located findings with a code, and how they look in a terminal."""

from glassbox_dsl.diagnostics.diagnostic import Diagnostic, Findings, InternalError, Severity
from glassbox_dsl.diagnostics.render import as_json, render
from glassbox_dsl.diagnostics.suggest import did_you_mean

__all__ = [
    "Diagnostic",
    "Findings",
    "InternalError",
    "Severity",
    "as_json",
    "did_you_mean",
    "render",
]
