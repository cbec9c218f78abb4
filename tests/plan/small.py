"""A checkpoint without weights: a config, a tokenizer of a few words, and the header of an empty weight file."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import tiny_config

WORDS = ("the", "red", "blue", "green", "black", "dog", "runs", "home")
DATA = """
data words {
  rows [{a: "red", b: "blue"}, {a: "green", b: "black"}]
  prompt clean   = "the {a} dog runs"
  prompt corrupt = "the {b} dog runs"
  answer target  = " {a}"
}
"""
PATCHING = (
    DATA
    + """
experiment patching {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure score = logit(patched, target)
}
"""
)


def checkpoint(folder: Path) -> int:
    """Make a tiny llama of three layers in a folder; returns the size of its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS), " " + " ".join(reversed(WORDS))] * 20, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    (folder / "config.json").write_text(json.dumps(tiny_config(family("llama"), 3, size)))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return size


def write(folder: Path, text: str) -> Path:
    """A file over that checkpoint, which is made beside it."""
    path = folder / "file.gbx"
    path.write_text(f'gbx 1\nmodel llama = local("{folder / "llama"}", device: "cpu")\n{text}')
    return path
