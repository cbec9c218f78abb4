"""The command line as a whole: verbs by folder, exit codes, what goes to which stream, start-up."""

import subprocess
import sys

import pytest

from glassbox_dsl.cli import app, completion, exits, not_built, verbs
from glassbox_dsl.diagnostics import Diagnostic, Findings, InternalError

HEAVY = ("torch", "transformers", "duckdb", "numpy", "pydantic", "rich", "lark", "tokenizers", "jinja2")


@pytest.fixture
def failing_verb(monkeypatch, tmp_path):
    """Adds a verb `fail` as a file; what it does is set through `failing_verb(code)`."""
    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(tmp_path)])

    def write(body: str) -> None:
        monkeypatch.delitem(sys.modules, "glassbox_dsl.cli.verbs.fail", raising=False)
        (tmp_path / "fail.py").write_text(
            f"import click\n@click.command()\ndef fail():\n    '''Fails.'''\n    {body}\n"
        )

    yield write
    sys.modules.pop("glassbox_dsl.cli.verbs.fail", None)


def test_adding_a_file_adds_a_verb(failing_verb, capsys):
    assert app.answer(["fail"]) == exits.USAGE
    failing_verb("print('it ran')")
    assert app.answer(["fail"]) == exits.OK
    assert capsys.readouterr().out == "it ran\n"
    app.answer(["--help"])
    assert "Fails." in capsys.readouterr().out


def test_the_verbs_of_this_version():
    standing = "check diff explain families figure gap index inspect models query report resume run version"
    assert app.verb_names() == tuple(standing.split())


def test_every_verb_of_the_language_reference_answers():
    verbs = "init check fmt explain run resume query report figure diff index models families inspect gap lsp version"
    assert {*app.verb_names(), *not_built.NOT_BUILT} == set(verbs.split())


@pytest.mark.parametrize("verb", sorted(not_built.NOT_BUILT))
def test_a_verb_that_is_not_built_says_so(verb, capsys):
    assert verb not in app.verb_names()
    assert app.answer([verb, "some.gbx", "--any-option"]) == exits.USAGE
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1 and f"`gbx {verb}`" in streams.err and "not built yet" in streams.err


def test_the_help_lists_what_is_built_and_nothing_else(capsys):
    assert app.answer(["--help"]) == exits.OK
    listed = {line.split()[0] for line in capsys.readouterr().out.split("Commands:")[1].strip().splitlines()}
    assert set(app.verb_names()) <= listed
    assert not listed & set(not_built.NOT_BUILT)


@pytest.mark.parametrize("verb", app.verb_names())
def test_every_verb_has_help(verb, capsys):
    assert app.answer([verb, "--help"]) == exits.OK
    assert f"Usage: gbx {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["frob"], ["check"], ["check", "--frob", "x"], ["query", "a.duckdb"]])
def test_a_wrong_command_line_ends_with_2_and_says_so_on_stderr(arguments, capsys):
    assert app.answer(arguments) == exits.USAGE
    streams = capsys.readouterr()
    assert streams.out == "" and "Error: " in streams.err


WRONG = [
    (["chek"], "No such command 'chek'. Did you mean 'check'?"),
    (["check", "--jsn", "a.gbx"], "No such option '--jsn'. Did you mean '--json'?"),
    (["check"], "Missing argument 'FILE...'."),
    (["query", "a.duckdb"], "Missing argument 'SQL'."),
    (["query", "a.duckdb", "SELECT 1", "more"], "Got unexpected extra argument (more)"),
    (["query", "a.duckdb", "SELECT 1", "--seconds", "soon"], "'--seconds': 'soon' is not a valid number."),
    (["query", "a.duckdb", "SELECT 1", "--seconds", "nan"], "'--seconds': nan is not finite."),
    (["query", "a.duckdb", "SELECT 1", "--seconds", "inf"], "'--seconds': inf is not finite."),
    (["report", "a.duckdb", "--every", "0"], "'--every': 0.0 is not in the range x>=0.1."),
    (
        ["query", "a.duckdb", "SELECT 1", "-f", "xml"],
        "'xml' is not one of 'table', 'csv', 'json', 'parquet'.",
    ),
    (["check", "a.gbx", "--families", "no/folder"], "'--families': Directory 'no/folder' does not exist."),
    (["run", "a.gbx", "--memory", "much"], "'--memory': `much` is no amount of memory"),
    (["figure", "a.duckdb", "recovered"], "write EXPERIMENT.MEASURE"),
    (["figure", "a.duckdb", "a.b", "layer"], "`layer` is not of the form OPTION=VALUE"),
    (["models", "frob"], "No such command 'frob'."),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_a_wrong_command_line_says_what_is_wrong_with_it(arguments, said, capsys):
    assert app.answer(arguments) == exits.USAGE
    message = capsys.readouterr().err
    assert said in message and message.startswith("Usage: gbx ")


def test_only_the_verb_that_is_asked_for_is_imported():
    program = (
        "import sys\nfrom glassbox_dsl.cli.app import answer\nanswer(['check', 'no.gbx'])\n"
        "print([m for m in sys.modules if m.startswith('glassbox_dsl.cli.verbs.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['glassbox_dsl.cli.verbs.check']"


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shell_is_told_how_to_complete(shell, capsys):
    assert app.answer(["--show-completion", shell]) == exits.OK
    assert f"_GBX_COMPLETE={shell}_complete" in capsys.readouterr().out.replace(" = '", "=").replace("'", "")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("gbx ch", ["plain,check"]),
        ("gbx fm", []),  # not built
        ("gbx check --j", ["plain,--json"]),
        ("gbx families ver", ["plain,verify"]),
        ("gbx run my", ["file,my"]),
        ("gbx run x.gbx --families my", ["dir,my"]),
        ("gbx query a.duckdb X --format p", ["plain,parquet"]),
    ],
)
def test_verbs_options_and_files_are_completed(typed, completed, monkeypatch, capsys):
    monkeypatch.setenv("_GBX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    app.answer([])
    assert capsys.readouterr().out.split() == completed


def test_a_bug_asks_for_a_report_without_a_traceback(failing_verb, capsys, monkeypatch):
    failing_verb("raise ValueError('a \\x1b[31m thing')")
    assert app.answer(["fail"]) == exits.INTERNAL
    said = capsys.readouterr().err
    assert "ValueError: a \\u{1b}[31m thing" in said and "report it" in said and "Traceback" not in said
    monkeypatch.setenv("GBX_TRACEBACK", "1")
    app.answer(["fail"])
    assert "Traceback" in capsys.readouterr().err


SAY = "import glassbox_dsl.diagnostics as d; "


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise KeyboardInterrupt", exits.INTERRUPTED),
        (SAY + "raise d.InternalError('x')", exits.INTERNAL),
        (SAY + "raise d.Findings([d.Diagnostic('GB200', 'x')])", exits.FINDINGS),
        (SAY + "raise d.Findings([d.Diagnostic('GB600', 'x')])", exits.LOCKED),
        ("raise EOFError('x')", exits.INTERNAL),
        ("raise SystemExit(0)", exits.OK),
        ("click.get_current_context().exit(3)", exits.INCOMPLETE),
        ("return 3", exits.INCOMPLETE),
    ],
)
def test_each_way_to_end_has_its_code(failing_verb, body, code):
    failing_verb(body)
    assert app.answer(["fail"]) == code


def test_warnings_alone_are_no_failure():
    warning = Diagnostic("GB231", "a warning", severity="warning")
    assert exits.of([warning]) == exits.OK
    assert exits.of([warning, Diagnostic("GB200", "an error")]) == exits.FINDINGS
    assert issubclass(Findings, Exception) and not issubclass(InternalError, Findings)


def test_the_codes_are_those_of_the_language_reference():
    assert [exits.OK, exits.FINDINGS, exits.USAGE, exits.INCOMPLETE, exits.LOCKED] == [0, 1, 2, 3, 4]
    assert [exits.INTERNAL, exits.INTERRUPTED] == [70, 130]


@pytest.mark.parametrize("arguments", [["--version"], ["version"], ["--help"], ["check", "--help"], ["fmt"]])
def test_light_commands_import_nothing_heavy(arguments):
    program = (
        "import sys\nfrom glassbox_dsl.cli.app import answer\n"
        f"answer({arguments!r})\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_gbx_version_starts_quickly(cold_seconds):
    assert cold_seconds(["-m", "glassbox_dsl", "version"]) < 0.12


def test_a_reader_that_leaves_early_is_no_failure():
    program = "from glassbox_dsl.cli.output import emit\nfor i in range(100000): emit('x' * 100)\nprint('no')"
    shell = f'set -o pipefail; "{sys.executable}" -c "{program}" | head -1'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "x" * 100 + "\n")
