"""Small tokenizers of the kinds that models have, trained here, and data blocks resolved with them."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.data import declare_data
from glassbox_dsl.language.data.files import read_words, word_lists
from glassbox_dsl.resolve.data import DataNeeds, resolve_data
from glassbox_dsl.resolve.tokenizer import TextTokenizer
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import nodes, parse
from glassbox_dsl.vocabulary.models import ModelSource

CHAT = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
CHAT_WITH_BOS = (
    "{{ bos_token }}{% for m in messages %}{{ '<turn>' + m['role'] + '\n' + (m['content'] | trim) }}"
    "{{ '</turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)
KINDS = ("bytes", "spaces", "trimmed", "prefixed")


def corpus() -> list[str]:
    """Sentences over the shipped words: enough for most of them to be one token."""
    words = [w for p in word_lists().values() for w in read_words(p) if isinstance(w, str)]
    names = read_words(word_lists()["names"])
    lines = [
        f"When {a} and {b} went to the {w}, {b} gave a {w} to {a}."
        for a, b, w in zip(names, names[1:] * 2, words * 2, strict=False)
    ]
    return 4 * lines + [" " + w for w in words] * 4 + ["café déjà vu, 12 + 30 = 42"] + 9 * ["Mary's and it's"]


def train(kind: str) -> Tokenizer:
    """SmolLM2's kind (bytes), GPT-2's (trimmed), and with a BOS Gemma's (spaces) and Llama 2's (prefixed)."""
    if kind in ("bytes", "trimmed"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if kind == "trimmed":
            tokenizer.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
        special = ["<|end|>", "<|start|>"]
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        if kind == "spaces":
            tokenizer.normalizer = normalizers.Replace(" ", "▁")
            tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet = []
        special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=1600, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(corpus(), trainer)
    if kind in ("spaces", "prefixed"):
        tokenizer = _byte_pieces_are_ordinary(tokenizer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
        )
    return tokenizer


def _byte_pieces_are_ordinary(tokenizer: Tokenizer) -> Tokenizer:
    """Byte pieces are part of the vocabulary, not added tokens that a text could spell."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(state))


def save(kind: str, folder: Path) -> None:
    """A folder as `save_pretrained` leaves it; for this family transformers reads tokenizer.json as it is."""
    train(kind).save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers"}
    if kind in ("bytes", "trimmed"):
        config |= {"bos_token": "<|start|>", "eos_token": "<|end|>"}
    else:
        config |= {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if kind in ("bytes", "spaces"):
        (folder / "chat_template.jinja").write_text(CHAT if kind == "bytes" else CHAT_WITH_BOS)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder with a tokenizer of each kind."""
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind)
        save(kind, made[kind])
    return made


@pytest.fixture(scope="session")
def tokenizers(folders) -> dict[str, TextTokenizer]:
    """The tokenizers of every kind."""
    return {kind: TextTokenizer(folder) for kind, folder in folders.items()}


@pytest.fixture
def declare(tmp_path):
    """Reads the data block of a text, which has to be right."""

    def read(text: str):
        parsed = parse(Source("page.gbx", "gbx 1\n" + text))
        assert parsed.diagnostics == ()
        lets = {d.name: d.value for d in parsed.file.declarations if isinstance(d, nodes.Let)}
        block = next(d for d in parsed.file.declarations if isinstance(d, nodes.Data))
        spec, problems = declare_data(block, folder=tmp_path, root=tmp_path, lets=lets)
        assert [(p.code, p.headline) for p in problems] == []
        return spec

    return read


@pytest.fixture
def resolve(declare, tokenizers):
    """Resolves the inside of a data block for models named after the kinds of their tokenizers."""

    def run(inside: str, *kinds: str, extra=None, **needs):
        chosen = {kind: tokenizers[kind] for kind in kinds or ("bytes",)} | (extra or {})
        text = inside if inside.lstrip().startswith(("data", "let")) else f"data d {{ {inside} }}"
        return resolve_data(declare(text), chosen, DataNeeds(**{k: frozenset(v) for k, v in needs.items()}))

    return run


@pytest.fixture
def refused(resolve):
    """The findings of a data set that cannot be resolved."""

    def run(inside: str, *kinds: str, extra=None, **needs):
        with pytest.raises(Findings) as raised:
            resolve(inside, *kinds, extra=extra, **needs)
        return raised.value.diagnostics

    return run


@pytest.fixture(scope="session", params=["smollm2-135m", "gemma3-270m"])
def bundled_folder(request) -> Path:
    """The folder of a bundled model's tokenizer; skipped where the model has not been fetched yet."""
    from glassbox_dsl.resolve.sources import locate

    files = locate(ModelSource(name="m", kind="bundled", target=request.param))
    if files.tokenizer is None:
        pytest.skip(f"{request.param} has not been fetched (`gbx models fetch {request.param}`)")
    return files.tokenizer
