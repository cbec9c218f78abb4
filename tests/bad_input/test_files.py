"""Files that are missing, damaged, too large, too deep or not text; imports that go round."""

import struct

import pytest

from tests.bad_input.conftest import HEAD, Folder

E = "experiment e { measure a = ld(clean) }"


def test_a_data_file_that_is_missing(folder):
    found = folder.refused('gbx 1\ndata d { @@from "rows.csv"  prompt p = "x {w}" }\n')
    assert "rows.csv" in found.headline and found.help


def test_a_file_of_slots_that_is_missing(folder):
    found = folder.refused(
        'gbx 1\ndata d { slots { a, b from @@"words.jsonl" }  prompt p = "{a} {b}"  draw 2 }\n'
    )
    assert "words.jsonl" in found.headline and found.help


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b"w,w\nx,y\n"),
        ("rows.csv", b"\xff\xfe\x00"),
        ("rows.csv", b""),
        ("rows.jsonl", b'{"w": "x"}\n{"w": '),
        ("rows.parquet", b"PAR1"),
        ("rows.xlsx", b"PK"),
    ],
)
def test_a_data_file_that_is_damaged(name, content, folder):
    (folder.path / name).write_bytes(content)
    found = folder.refused(f'gbx 1\ndata d {{ @@from "{name}"  prompt p = "x" }}\n')
    assert name in found.headline and found.help


def test_an_import_that_is_missing(folder):
    found = folder.refused('gbx 1\n@@import "other.gbx"\n')
    assert (found.code, found.headline) == ("GB204", "cannot import `other.gbx`") and found.help


@pytest.mark.parametrize("path", ["../outside.gbx", "/etc/passwd", "link.gbx"])
def test_an_import_that_leaves_the_project(path, folder):
    (folder.path.parent / "outside.gbx").write_text("gbx 1\n")
    (folder.path / "link.gbx").symlink_to(folder.path.parent / "outside.gbx")
    found = folder.refused(f'gbx 1\n@@import "{path}"\n')
    assert found.code == "GB204" and "outside the project" in found.label and found.help


def test_imports_that_go_round_show_the_chain(folder):
    folder.write('gbx 1\nimport "b.gbx"\n', "a.gbx")
    place = folder.write('gbx 1\n@@import "x.gbx"\n', "b.gbx")
    found = folder.refused('gbx 1\nimport "a.gbx"\n')
    assert (found.code, found.place) == ("GB205", place) and found.help
    assert found.label == "x.gbx -> a.gbx -> b.gbx -> x.gbx"


def test_a_mistake_in_an_imported_file_is_placed_there(folder):
    place = folder.write(HEAD.replace("ld(r) =", "ld(r) = @@targt *"), "lib/other.gbx")
    found = folder.refused(f'gbx 1\nimport "lib/other.gbx"\n{E}\n')
    assert (found.code, found.place) == ("GB200", place)


def test_a_name_that_two_files_declare(folder):
    folder.write(HEAD, "other.gbx")
    found = folder.refused('gbx 1\nimport "other.gbx"\n@@metric ld(r) = entropy(r)\n' + E)
    assert found.code == "GB201" and "other.gbx, line 11" in found.label and found.help


@pytest.mark.parametrize(
    ("body", "chain"),
    [
        ("let a = b + 1  @@let b = a + 1  measure c = a", "`a` -> `b` -> `a`"),
        (
            "run p = forward(clean) { embed := q }  run q = forward(clean) { embed := p }  measure c = ld(q)",
            "`p` -> `q` -> `p`",
        ),
        ("metric f(r) = g(r)  metric g(r) = f(r)  measure c = f(clean)", "`f` -> `g` -> `f`"),
    ],
)
def test_declarations_that_go_round_show_the_chain(body, chain, folder):
    found = folder.refused(f"{HEAD}experiment e {{ {body.replace('@@', '')} }}")
    assert (
        found.code == "GB202" and chain in found.label and found.help and found.place.startswith("x.gbx:12:")
    )


def test_a_folder_of_a_local_model_that_is_missing(folder):
    found = folder.refused('gbx 1\nmodel m = @@local("models/none")\n')
    assert found.code.startswith("GB31") and "models/none" in found.headline and found.help


def test_a_file_of_numbers_that_is_missing(folder):
    found = folder.refused(HEAD + 'experiment e { measure a = norm(load(@@"steer.safetensors", key: "v")) }')
    assert (found.code, found.headline) == ("GB204", "cannot read `steer.safetensors`") and found.help


@pytest.mark.parametrize(
    "content", [b"", b"no tensors at all", struct.pack("<Q", 5) + b"[1,2]", struct.pack("<Q", 2**60)]
)
def test_a_file_of_numbers_that_is_damaged(content, folder):
    (folder.path / "steer.safetensors").write_bytes(content)
    found = folder.refused(HEAD + 'experiment e { measure a = norm(load(@@"steer.safetensors", key: "v")) }')
    assert (found.code, found.headline) == ("GB204", "cannot read `steer.safetensors`") and found.help


def test_a_key_that_a_file_of_numbers_lacks(folder):
    header = b'{"vector":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder.path / "steer.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    found = folder.refused(
        HEAD + 'experiment e { measure a = norm(load("steer.safetensors", key: @@"vectr")) }'
    )
    assert found.code == "GB200" and "`vector`" in found.help


@pytest.mark.parametrize("kept", [0, 3, 20, 60])
def test_a_truncated_gguf(kept, folder):
    whole = (
        b"GGUF"
        + struct.pack("<IQQ", 3, 4, 2)
        + struct.pack("<Q", 20)
        + b"general.architecture"
        + struct.pack("<IQ", 8, 5)
    )
    (folder.path / "model.gguf").write_bytes(whole[:kept])
    found = folder.refused('gbx 1\nmodel m = @@gguf("model.gguf")\n')
    assert "model.gguf" in found.headline and found.help


def refuse_whole(folder: Folder, content: bytes, code: str, word: str) -> None:
    """A file that is refused before it is read; it has no place to point at but itself."""
    (folder.path / "x.gbx").write_bytes(content)
    before = folder.state()
    [found] = folder.check()
    folder.refused_by_run(found)
    assert (
        found.code == code
        and "x.gbx" in found.headline + found.place
        and word in found.headline + found.label
    )
    assert found.help and folder.state() == before


def test_a_file_that_is_too_large(folder):
    refuse_whole(folder, b"gbx 1\n#" + b"x" * 2**20, "GB103", "1 MiB")


def test_a_file_that_is_not_utf8(folder):
    refuse_whole(folder, b'gbx 1\nlet a = "\xe9"\n', "GB102", "UTF-8")


def test_a_file_that_is_nested_too_deep(folder):
    found = folder.refused("gbx 1\nlet a = " + "[" * 64 + "@@[" + "]" * 65 + "\n")
    assert found.code == "GB104" and "64" in found.headline + found.label and found.help


def test_a_file_that_is_not_there(folder):
    [found] = folder.check("nope.gbx")
    folder.refused_by_run(found, "nope.gbx")
    assert (
        "nope.gbx" in found.headline
        and found.help
        and folder.state() == {"gbx.toml": folder.state()["gbx.toml"]}
    )
