"""The shape of the code: who may import whom, and how large a file may be.

Each rule is a function of a folder, so that it can be seen failing on a small tree made for it.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAME = "glassbox_dsl"
ORDER = (
    *("source", "resources", "diagnostics", "vocabulary", "library", "syntax", "language"),
    *("resolve", "plan", "run", "store", "report", "results", "pipeline", "cli"),
)
ONLY_IN = {
    "lark": {"syntax"},
    "torch": {"run"},
    "transformers": {"run"},
    "safetensors": {"run"},
    "accelerate": {"run"},
    "gguf": {"run"},
    "duckdb": {"language", "store"},  # language: reads the tables that data blocks name
    "jinja2": {"report", "resolve"},  # resolve: chat templates
    "altair": {"report"},
    "vl_convert": {"report"},
    "click": {"cli"},
    "rich": {"cli"},
}
BANNED = {"util", "utils", "common", "helper", "helpers", "misc"}
LONGEST = 400
# Lists by nature: one entry per form of the language or per message. They may be longer, but not for ever.
LISTS = {"syntax/nodes.py", "language/program.py", "language/errors.py", "language/data/errors.py"}
LONGEST_LIST = 500


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package below `root`, by its dotted name."""
    found = {}
    for path in sorted((root / NAME).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def stage(module: str) -> str:
    """The part of the package that a module belongs to; the package itself and `__main__` have none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__main__" else ""


def imports(path: Path, module: str, at_load_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports: all of them, or those that loading the module already needs."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in _loading(tree) if at_load_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _loading(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below one that run when the module is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _loading(child)


def upstream_breaches(root: Path) -> list[str]:
    """Imports that point downstream, and parts that the order does not know."""
    found = []
    for module, path in modules(root).items():
        here = stage(module)
        if not here:
            continue
        if here not in ORDER:
            found.append(f"{module}: `{here}` has no place in the order")
            continue
        for name in imports(path, module):
            there = stage(name) if name.split(".")[0] == NAME else ""
            if there in ORDER and ORDER.index(there) > ORDER.index(here):
                found.append(f"{module} imports {name}")
    return found


def library_breaches(root: Path) -> list[str]:
    """Imports of a library outside the parts that it belongs to."""
    return [
        f"{module} imports {name}"
        for module, path in modules(root).items()
        for name in imports(path, module)
        if stage(module) not in ONLY_IN.get(name.split(".")[0], {stage(module)})
    ]


def cycle(root: Path) -> list[str]:
    """The modules of one import cycle, if there is one."""
    known = modules(root)
    graph = {}
    for module, path in known.items():
        targets = {_module_of(name, known) for name in imports(path, module, at_load_only=True)}
        graph[module] = targets - {"", module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _module_of(name: str, known: dict[str, Path]) -> str:
    """The module that an imported name stands for or lies in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name if name != NAME else ""


def long_files(root: Path) -> list[str]:
    """Files that have grown too long to read in one go."""
    found = []
    for path in modules(root).values():
        name = path.relative_to(root / NAME).as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > (LONGEST_LIST if name in LISTS else LONGEST):
            found.append(f"{name}: {lines} lines")
    return found


def catch_alls(root: Path) -> list[str]:
    """Modules and packages whose name says nothing."""
    return [module for module in modules(root) if BANNED & set(module.split("."))]


RULES = [upstream_breaches, library_breaches, cycle, long_files, catch_alls]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule):
    assert rule(ROOT) == []


def test_the_lists_exist():
    assert [name for name in LISTS if not (ROOT / NAME / name).is_file()] == []


def test_a_real_number_of_files_was_inspected():
    assert len(modules(ROOT)) > 60
    assert sum(1 for module, path in modules(ROOT).items() for _ in imports(path, module)) > 300


BREACHES = [
    (
        upstream_breaches,
        {"plan/a.py": "def f():\n    from glassbox_dsl.run import b\n"},
        "glassbox_dsl.run.b",
    ),
    (upstream_breaches, {"plan/a.py": "from ..cli import app\n"}, "glassbox_dsl.cli.app"),
    (upstream_breaches, {"extras/a.py": ""}, "has no place"),
    (library_breaches, {"plan/a.py": "def f():\n    import torch.nn as nn\n"}, "torch.nn"),
    (library_breaches, {"language/a.py": "from lark import Lark\n"}, "lark.Lark"),
    (
        cycle,
        {"run/a.py": "from glassbox_dsl.run import b\n", "run/b.py": "from .a import x\n"},
        "glassbox_dsl.run.a",
    ),
    (long_files, {"run/a.py": "x = 1\n" * 401}, "401 lines"),
    (long_files, {"syntax/nodes.py": "x = 1\n" * 501}, "501 lines"),
    (catch_alls, {"run/helpers/a.py": ""}, "glassbox_dsl.run.helpers.a"),
]


@pytest.mark.parametrize(("rule", "files", "expected"), BREACHES)
def test_the_rule_finds_a_breach(rule, files, expected, tmp_path):
    for name, text in {"__init__.py": "", **files}.items():
        (tmp_path / NAME / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / NAME / name).write_text(text)
    assert expected in " ".join(rule(tmp_path))


def test_lazy_and_type_only_imports_are_no_cycle(tmp_path):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from glassbox_dsl import b\n"
        "def f():\n    import glassbox_dsl.b\n"
    )
    (tmp_path / NAME / "b.py").write_text("import glassbox_dsl.a\n")
    assert cycle(tmp_path) == []
