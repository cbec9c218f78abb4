"""Slow tokenizers are not read again for texts they have seen; what is remembered is never wrong."""

import json
import shutil
import subprocess
import sys
from importlib.util import spec_from_file_location

import pytest

from glassbox_dsl.resolve import tokenizer_backend
from glassbox_dsl.resolve.tokenizer import TextTokenizer
from glassbox_dsl.resolve.tokenizer_backend import backend_of

TEXT = "When Mary met John, 日"


@pytest.fixture
def remembering(monkeypatch, tmp_path):
    """Every tokenizer counts as slow; the cache is empty. `forget()` is what a new process starts with."""
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenizer_backend, "SLOW_BYTES", 0)
    tokenizer_backend._backend.cache_clear()
    yield tokenizer_backend._backend.cache_clear
    tokenizer_backend._backend.cache_clear()


def facts(tokenizer):
    encoding = tokenizer.encode(TEXT)
    shown = [tokenizer.token_text(i) for i in encoding.ids]
    ordinary = [tokenizer.is_ordinary(i) for i in encoding.ids]
    return (
        encoding,
        tokenizer.encode_plain(TEXT),
        shown,
        ordinary,
        tokenizer.lead,
        tokenizer.bos_id,
        tokenizer.size,
    )


def built(tokenizer):
    return "_tokenizer" in vars(tokenizer._backend)


def unbuildable(files):
    raise AssertionError("the tokenizer was read again")


@pytest.mark.parametrize("kind", ["bytes", "spaces", "trimmed", "prefixed"])
def test_a_second_process_is_told_the_same_without_reading(kind, folders, remembering, monkeypatch):
    first = TextTokenizer(folders[kind])
    expected = facts(first)
    assert built(first)
    first.keep_answers()
    remembering()
    monkeypatch.setattr(tokenizer_backend, "_build", unbuildable)
    second = TextTokenizer(folders[kind])
    assert facts(second) == expected and not built(second)
    with pytest.raises(AssertionError, match="read again"):
        second.encode("another text")


def test_another_tokenizer_has_another_memory(folders, remembering, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folders["spaces"], folder)
    first = TextTokenizer(folder)
    assert len(first.encode(TEXT).ids) == len(first.encode_plain(TEXT).ids) + 1
    first.keep_answers()
    state = json.loads((folder / "tokenizer.json").read_text())
    state["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(state))
    changed = TextTokenizer(folder)
    assert changed.encode(TEXT).ids == changed.encode_plain(TEXT).ids


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"size": 3}'])
def test_a_broken_memory_is_none(content, folders, remembering, tmp_path):
    tokenizer = TextTokenizer(folders["bytes"])
    expected = facts(tokenizer)
    tokenizer.keep_answers()
    (memory,) = (tmp_path / "cache" / "tokens").glob("*.json")
    memory.write_text(content)
    remembering()
    assert facts(TextTokenizer(folders["bytes"])) == expected


def test_a_cache_that_cannot_be_written_is_no_fault(folders, remembering, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    tokenizer = TextTokenizer(folders["bytes"])
    assert tokenizer.encode(TEXT).ids
    tokenizer.keep_answers()
    assert (tmp_path / "cache").read_text() == "a file where the folder should be"


def test_a_small_tokenizer_leaves_nothing_behind(folders, monkeypatch, tmp_path):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    tokenizer_backend._backend.cache_clear()
    tokenizer = TextTokenizer(folders["bytes"])
    tokenizer.encode(TEXT)
    tokenizer.keep_answers()
    assert not (tmp_path / "cache").exists()


def test_long_texts_are_not_remembered(folders, remembering, tmp_path):
    tokenizer = TextTokenizer(folders["bytes"])
    assert len(tokenizer.encode_plain("word " * 5000).ids) >= 5000
    tokenizer.encode_plain("word")
    tokenizer.keep_answers()
    (memory,) = (tmp_path / "cache" / "tokens").glob("*.json")
    assert {q for q in json.loads(memory.read_text()) if q.startswith("0:")} == {"0:word"}


def test_models_that_share_files_share_one_tokenizer(folders):
    first, second = TextTokenizer(folders["spaces"]), TextTokenizer(folders["spaces"], bos=False)
    assert first._backend is second._backend is backend_of(folders["spaces"])
    assert first.lead != second.lead == ()


def test_nothing_is_read_or_imported_before_a_text_comes(folders):
    code = (
        "import sys; from pathlib import Path\n"
        "from glassbox_dsl.resolve.tokenizer import TextTokenizer\n"
        f"TextTokenizer(Path({str(folders['bytes'])!r}))\n"
        "print('tokenizers' in sys.modules, 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_another_library_is_asked_again(folders, remembering, monkeypatch, tmp_path):
    """An upgrade writes the library's files anew, and may cut texts otherwise."""
    library = tmp_path / "tokenizers" / "__init__.py"
    library.parent.mkdir()
    library.write_text("")
    spec = spec_from_file_location("tokenizers", library)
    monkeypatch.setattr(tokenizer_backend, "find_spec", lambda name: spec)
    for text, read in (("", True), ("", False), ("# upgraded", True)):
        library.write_text(text) if text else None
        remembering()
        tokenizer = TextTokenizer(folders["bytes"])
        facts(tokenizer)
        tokenizer.keep_answers()
        assert built(tokenizer) == read


def test_what_was_asked_last_is_dropped_last(folders, remembering, monkeypatch):
    """Else a memory that is full forgets at each start what it is asked for next."""
    monkeypatch.setattr(tokenizer_backend, "_MOST_ANSWERS", 5)
    for word in ("red", "green", "blue", "black"):
        tokenizer = TextTokenizer(folders["bytes"])
        tokenizer.encode("first words")
        tokenizer.encode(word)
        tokenizer.keep_answers()
        remembering()
    backend = TextTokenizer(folders["bytes"])._backend
    asked = [question for question in backend._known if question.startswith(("0:", "1:"))]
    assert any("first words" in question for question in asked) and any("black" in q for q in asked)
    assert not any("red" in question for question in asked)
