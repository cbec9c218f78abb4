"""Text to tokens: what AutoTokenizer gives, without transformers."""

import json
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from glassbox_dsl.resolve.tokenizer import TextTokenizer, TokenizerProblem

KINDS = ("bytes", "spaces", "trimmed", "prefixed")
TEXTS = [
    "When Mary and John went to the store, John gave a drink to",
    "",
    " leading and  double   spaces ",
    "line\nbreaks\n\n\tand tabs",
    "café déjà 日本語 👩\u200d🚀 \u0000",
    "<bos>spelt out<|start|>user<|end|> <unk> <0x41>",
    "12+30=42, isn't it?",
]
MESSAGES = [{"role": "system", "content": "be kind"}, {"role": "user", "content": " hi  there "}]


@pytest.fixture(scope="module")
def oracles(folders):
    return {kind: AutoTokenizer.from_pretrained(folder) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_auto_tokenizer(kind, text, tokenizers, oracles):
    assert list(tokenizers[kind].encode(text).ids) == oracles[kind](text)["input_ids"]
    plain = oracles[kind](text, add_special_tokens=False)["input_ids"]
    assert list(tokenizers[kind].encode_plain(text).ids) == plain


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=40))
def test_ids_and_offsets_of_any_text(text, tokenizers, oracles):
    for kind in ("bytes", "spaces", "prefixed"):
        expected = oracles[kind](text, return_offsets_mapping=True)
        encoding = tokenizers[kind].encode(text)
        assert list(encoding.ids) == expected["input_ids"]
        if kind != "prefixed":
            assert list(encoding.offsets) == [tuple(o) for o in expected["offset_mapping"]]


def test_a_space_that_the_text_does_not_have_holds_no_character(tokenizers):
    encoding = tokenizers["prefixed"].encode("日 a")
    shown = [tokenizers["prefixed"].token_text(i) for i in encoding.ids]
    assert shown[:3] == ["<bos>", " ", "\\xe6"]
    assert encoding.offsets[:3] == ((0, 0), (0, 0), (0, 1))


def test_the_kinds_differ_in_what_matters_here(tokenizers):
    text = " Mary went"
    shown = {k: [t.token_text(i) for i in t.encode(text).ids] for k, t in tokenizers.items()}
    assert shown["bytes"] == shown["trimmed"] == [" Mary", " went"]
    assert shown["spaces"] == shown["prefixed"] == ["<bos>", " Mary", " went"]


def test_offsets_hold_the_space_that_some_tokenizers_trim(tokenizers, oracles):
    assert oracles["trimmed"](" Mary", return_offsets_mapping=True)["offset_mapping"] == [(1, 5)]
    assert tokenizers["trimmed"].encode(" Mary").offsets == ((0, 5),)


@pytest.mark.parametrize("kind", ["bytes", "spaces"])
def test_bos_is_added_or_left_out_on_demand(kind, folders):
    encodings = [TextTokenizer(folders[kind], bos=bos).encode("Mary") for bos in (None, True, False)]
    default, with_bos, without = (e.ids for e in encodings)
    tokenizer = TextTokenizer(folders[kind])
    assert with_bos == (tokenizer.bos_id, *without) and encodings[1].offsets[0] == (0, 0)
    assert default == (without if kind == "bytes" else with_bos)


def test_a_bos_that_the_text_spells_out_stays(folders):
    without = TextTokenizer(folders["spaces"], bos=False).encode("<bos>Mary")
    assert without.ids[0] == TextTokenizer(folders["spaces"]).bos_id and without.offsets[0] == (0, 5)


def test_lead_is_what_every_prompt_starts_with(folders, tokenizers):
    assert {k: len(t.lead) for k, t in tokenizers.items()} == {
        "bytes": 0, "spaces": 1, "trimmed": 0, "prefixed": 1,
    }  # fmt: skip
    assert TextTokenizer(folders["spaces"], bos=False).lead == ()


def test_tokens_as_a_person_reads_them(tokenizers):
    for kind in ("bytes", "spaces"):
        tokenizer = tokenizers[kind]
        ids = tokenizer.encode_plain(" Mary\n日").ids
        assert b"".join(tokenizer.token_bytes(i) for i in ids) == " Mary\n日".encode()
        shown = [tokenizer.token_text(i) for i in ids]
        assert shown[0] == " Mary" and shown[1] == "\n" and shown[2:] == ["\\xe6", "\\x97", "\\xa5"]


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_tokens_are_readable_text(kind, tokenizers):
    tokenizer = tokenizers[kind]
    shown = {tokenizer.token_text(i) for i in tokenizer.ordinary_tokens}
    assert " Mary" in shown and len(shown) > 1000
    assert not shown & {"<bos>", "<unk>", "<|start|>", "\n", " ", "<0x41>", "\\xe6"}
    assert all(tokenizer.is_ordinary(i) for i in tokenizer.ordinary_tokens)


@pytest.mark.parametrize("kind", ["bytes", "spaces"])
def test_chats_are_rendered_as_transformers_does(kind, tokenizers, oracles):
    rendered = tokenizers[kind].render_chat(MESSAGES)
    expected = {"add_generation_prompt": True}
    assert rendered == oracles[kind].apply_chat_template(MESSAGES, tokenize=False, **expected)
    ids = oracles[kind].apply_chat_template(MESSAGES, **expected)["input_ids"]
    assert list(tokenizers[kind].encode_chat(rendered).ids) == ids


def test_tokens_that_only_the_config_declares_are_known(folders, tmp_path):
    shutil.copytree(folders["bytes"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["sep_token"] = "<sep>"
    config["added_tokens_decoder"] = {"1700": {"content": "<think>", "special": False}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    text = "a <think> b <sep> c"
    assert (
        list(TextTokenizer(tmp_path).encode(text).ids)
        == AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"]
    )


@pytest.mark.parametrize(("bos", "eos"), [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("kind", ["bytes", "spaces"])
def test_what_the_config_says_of_added_tokens_counts_as_much_as_it_does_for_auto_tokenizer(
    kind, bos, eos, folders, tmp_path
):
    shutil.copytree(folders[kind], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"add_bos_token": bos, "add_eos_token": eos}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    expected = AutoTokenizer.from_pretrained(tmp_path)("Mary went")["input_ids"]
    assert list(TextTokenizer(tmp_path).encode("Mary went").ids) == expected


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    with pytest.raises(TokenizerProblem, match=r"tokenizer\.json cannot be read"):
        TextTokenizer(tmp_path).encode("x")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerProblem, match="damaged"):
        TextTokenizer(tmp_path).encode("x")


def test_the_fingerprint_is_that_of_the_file(folders, tokenizers):
    import hashlib

    digest = hashlib.sha256((folders["bytes"] / "tokenizer.json").read_bytes()).hexdigest()
    assert tokenizers["bytes"].fingerprint == digest


def test_bundled_models_are_tokenised_as_auto_tokenizer_does(bundled_folder):
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    oracle, tokenizer = AutoTokenizer.from_pretrained(bundled_folder), TextTokenizer(bundled_folder)
    for text in TEXTS:
        expected = oracle(text, return_offsets_mapping=True)
        encoding = tokenizer.encode(text)
        assert list(encoding.ids) == expected["input_ids"]
        assert list(encoding.offsets) == [tuple(o) for o in expected["offset_mapping"]]
        assert list(tokenizer.encode_plain(text).ids) == oracle(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_behind_the_last_token_has_no_text(kind, tokenizers):
    """Models have more rows than their tokenizer has tokens, and may generate one: it says nothing."""
    tokenizer = tokenizers[kind]
    token = tokenizer.size + 3
    assert (tokenizer.knows(token), tokenizer.token_bytes(token)) == (False, b"")
    assert tokenizer.token_text(token) == f"[{token}]"
