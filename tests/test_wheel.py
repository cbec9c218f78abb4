"""What a user installs: a wheel carries everything that the program reads, and works from any folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from glassbox_dsl.resources import shipped

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("glassbox_dsl-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    _pip("install", "--no-index", "--target", str(folder), str(wheel))
    return folder


def test_the_wheel_carries_grammars_and_specs(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("grammars", "specs"):
        files = [path for path in shipped(folder).rglob("*") if path.is_file()]
        assert files
        missing = [
            path
            for path in files
            if f"glassbox_dsl/_shipped/{folder}/{path.relative_to(shipped(folder)).as_posix()}" not in names
        ]
        assert missing == []


def test_the_wheel_carries_every_file_of_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "glassbox_dsl").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 60
    assert [path for path in files if path.relative_to(ROOT).as_posix() not in names] == []


def test_the_wheel_carries_no_tests_and_states_its_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith(("tests", "docs", "results"))]
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_check_works_from_another_folder(installed, tmp_path):
    worked = shipped("specs") / "experiments" / "ioi_patching.gbx"
    (tmp_path / "mine.gbx").write_text(worked.read_text(encoding="utf-8"), encoding="utf-8")
    done = _gbx(installed, tmp_path, "check", "--json", "mine.gbx")
    assert (done.returncode, json.loads(done.stdout)["diagnostics"]) == (0, []), done.stderr


def test_models_and_version_work_from_another_folder(installed, tmp_path):
    listed = json.loads(_gbx(installed, tmp_path, "models", "--json").stdout)["models"]
    assert {model["id"] for model in listed} == {"smollm2-135m", "gemma3-270m"}
    assert _gbx(installed, tmp_path, "--version").stdout.startswith("gbx ")


def test_the_installed_package_reads_its_own_files(installed, tmp_path):
    program = "from glassbox_dsl.resources import shipped; print(shipped('specs'))"
    done = _python(installed, tmp_path, "-c", program)
    assert Path(done.stdout.strip()) == installed / "glassbox_dsl" / "_shipped" / "specs"


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--no-deps", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _gbx(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _python(installed, folder, "-m", "glassbox_dsl", *arguments)


def _python(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in another folder, where the installed package comes before the checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
