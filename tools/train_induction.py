"""Trains an attention-only model of two layers on sequences that repeat, and keeps it as a checkpoint.

    python tools/train_induction.py FOLDER [--steps N]

GPT-2 with its MLPs at zero, 64 dimensions, 4 heads and a word-level tokenizer of 32 words. Pairs of words come back at
any distance, so that no position and no period gives them away and the model has to find what followed a token before:
it learns induction heads that read a previous-token head (Elhage et al. 2021; Olsson et al. 2022, arXiv:2209.11895).
One seed, one thread: the same weights on one machine every time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

WORDS = (
    *(
        "car",
        "red",
        "sun",
        "man",
        "day",
        "box",
        "tree",
        "book",
        "fish",
        "rain",
        "blue",
        "bird",
        "hand",
        "door",
        "king",
    ),
    *(
        "milk",
        "road",
        "ship",
        "snow",
        "star",
        "wind",
        "wood",
        "ball",
        "bell",
        "boat",
        "cake",
        "coat",
        "fire",
        "gold",
    ),
    *("moon", "rose"),
)
START = "words"
LENGTH = 32
WALKED, JUMPS = 12, 0.25
"""How many words a sequence walks among, and how often it jumps."""


def tokenizer() -> Tokenizer:
    """Every word is one token; white space separates."""
    known = {word: number for number, word in enumerate((START, *WORDS))}
    made = Tokenizer(models.WordLevel(known, unk_token=START))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def model() -> GPT2LMHeadModel:
    """Two layers of attention; MLPs add nothing and are not trained."""
    config = GPT2Config(
        vocab_size=len(WORDS) + 1, n_positions=32, n_embd=64, n_layer=2, n_head=4, n_inner=8,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    made = GPT2LMHeadModel(config)
    for block in made.transformer.h:
        for parameter in block.mlp.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)
    return made


def batch(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences [item, pos] behind the start token, and where what came before gives the next token away.

    In each sequence every word has one successor; now and then the walk jumps elsewhere. So the same pairs come back at
    any distance, and neither a position nor a period tells where.
    """
    successor = torch.rand(size, WALKED, generator=generator).argsort(1)
    words = torch.rand(size, len(WORDS), generator=generator).argsort(1)[:, :WALKED] + 1
    jumps = torch.rand(size, LENGTH - 1, generator=generator) < JUMPS
    targets = torch.randint(0, WALKED, (size, LENGTH - 1), generator=generator)
    place, walked = targets[:, 0], []
    for step in range(LENGTH - 1):
        place = torch.where(jumps[:, step], targets[:, step], successor.gather(1, place[:, None])[:, 0])
        walked.append(place)
    path = torch.stack(walked, 1)
    ids = torch.cat([torch.zeros(size, 1, dtype=torch.long), words.gather(1, path)], 1)
    pairs = (path[:, :, None] == path[:, None, :]) & torch.ones(LENGTH - 1, LENGTH - 1).tril(-1).bool()
    follows = ids[:, None, 2:] == ids[:, 2:, None]  # does the same token follow at both places?
    given = (pairs[:, :-1, :-1] & follows).any(-1)
    return ids, torch.cat([torch.zeros(size, 1, dtype=torch.bool), given], 1)


def train(steps: int, seed: int = 0) -> tuple[GPT2LMHeadModel, float]:
    """The trained model, and its loss on repeated tokens at the end (nats; ln 32 = 3.5 at the beginning)."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    made = model().train()
    optimiser = torch.optim.AdamW(
        [p for p in made.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        ids, given = batch(64, generator)
        logits = made(ids).logits[:, :-1]
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = losses.view_as(given)[given].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return made.eval(), float(loss.detach())


def keep(made: GPT2LMHeadModel, folder: Path) -> None:
    """The checkpoint as transformers keeps one."""
    made.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": START}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    made, loss = train(arguments.steps)
    keep(made, arguments.folder)
    print(f"loss on repeated tokens: {loss:.3f}")


if __name__ == "__main__":
    main()
