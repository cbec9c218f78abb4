"""The command `gbx`: gathers the verbs of `verbs/` and turns every way of ending into an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

import typer

from glassbox_dsl import __version__
from glassbox_dsl.cli import exits, not_built, verbs
from glassbox_dsl.cli.output import complain, say
from glassbox_dsl.diagnostics import Findings, render


def verb_names() -> tuple[str, ...]:
    """The verbs that stand: the modules of `verbs/`."""
    return tuple(sorted(module.name for module in iter_modules(verbs.__path__)))


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application with the verb that the arguments begin with; without one, with every verb.

    One verb alone keeps `gbx check` quick: making the commands of all of them takes as long as checking a file.
    """
    app = typer.Typer(
        name="gbx",
        help="Declarative interpretability experiments: a .gbx file in, a DuckDB file and a report out.",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: importing rich would double the start-up time
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    names = verb_names()
    for name in arguments[:1] if arguments and arguments[0] in names else names:
        import_module(f"glassbox_dsl.cli.verbs.{name}").register(app)
    not_built.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `gbx` and leave the process with one of the codes of `exits`."""
    # Looking for plugins of pydantic means reading the metadata of every installed package, at every start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Trees of a program live until the process ends: looking through them for garbage took a sixth of a check.
    gc.set_threshold(100_000, 20, 20)
    code = answer(arguments)
    if "duckdb" not in sys.modules:  # which counts as leaked what is left then, and says so
        gc.freeze()  # at its end Python would look through everything once more: a fifth of a check
    sys.exit(code)


def answer(arguments: Sequence[str] | None = None) -> int:
    """Run `gbx` and return its exit code; what goes wrong is said on stderr, never as a traceback."""
    try:
        build(sys.argv[1:] if arguments is None else arguments)(args=arguments, prog_name="gbx")
    except SystemExit as end:  # typer leaves this way, after Ctrl-C too
        return end.code if isinstance(end.code, int) else exits.OK
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except Findings as findings:
        for diagnostic in findings.diagnostics:
            complain(render(diagnostic))
        return exits.of(findings.diagnostics)
    except Exception as error:
        return _own_fault(error)
    return exits.OK


def _own_fault(error: Exception) -> int:
    """Ask for a report: whatever reaches this place is a bug in Glassbox."""
    import platform
    import traceback

    if os.environ.get("GBX_TRACEBACK") == "1":
        traceback.print_exception(error)
    complain(f"internal error: {type(error).__name__}: {error}")
    complain(
        f"This is a bug in Glassbox {__version__} (Python {platform.python_version()}), not in your file."
    )
    complain("Please report it with the command, the file, and what GBX_TRACEBACK=1 shows.")
    return exits.INTERNAL


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"gbx {__version__}")
        raise typer.Exit()


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that stand before the verb."""
