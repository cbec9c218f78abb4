"""The command `gbx`: finds the verbs of `verbs/` and turns every way of ending into an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

import click

from glassbox_dsl import __version__
from glassbox_dsl.cli import exits, not_built, verbs
from glassbox_dsl.cli.completion import show_completion
from glassbox_dsl.cli.output import complain
from glassbox_dsl.diagnostics import Findings, render


def verb_names() -> tuple[str, ...]:
    """The verbs that stand: the modules of `verbs/`."""
    return tuple(sorted(module.name for module in iter_modules(verbs.__path__)))


class Verbs(click.Group):
    """Imports the file of the verb that is asked for, and of all of them only for the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs that stand, for the help and for completion."""
        return list(verb_names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of this name: `verbs/NAME.py` has a command that is called as it is."""
        if cmd_name in verb_names():
            command = getattr(import_module(f"glassbox_dsl.cli.verbs.{cmd_name}"), cmd_name)
            assert isinstance(command, click.Command)
            return command
        return not_built.command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As for any group, but a wrong name is compared with verbs that are not imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=verb_names(), ctx=ctx) from None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, message="gbx %(version)s", help="Show the version.")
@show_completion
def gbx() -> None:
    """Declarative interpretability experiments: a .gbx file in, a DuckDB file and a report out."""


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
        code: int | None = gbx.main(arguments, prog_name="gbx", standalone_mode=False)
    except click.ClickException as wrong:  # with the command line
        wrong.show()
        return wrong.exit_code
    except click.Abort as end:  # what click makes of Ctrl-C, and of files that end too soon
        return _own_fault(end.__cause__) if isinstance(end.__cause__, EOFError) else exits.INTERRUPTED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else exits.OK
    except Findings as findings:
        for diagnostic in findings.diagnostics:
            complain(render(diagnostic))
        return exits.of(findings.diagnostics)
    except Exception as error:
        return _own_fault(error)
    return exits.OK if code is None else code


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
