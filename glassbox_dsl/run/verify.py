"""Trust is checked, not assumed: what `gbx` verifies on the first use of a model, with random tokens.

T1 without edits, logits are those of the untouched `eager` model. T2 layers run once, in order, each on what the one
before put out. T3 the last token changes nothing before it. T4 a prompt in a batch is the prompt alone. T6 nothing
is remembered of an earlier prompt. T7 the equations between sites; a site written back as it was read changes no
bit; an edit is read back as written and reaches the logits. What rows of a pack have to pass is in `delta/trust.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from glassbox_dsl.run.check import FLOAT_NOISE, HALF_NOISE, Check, check, furthest, nearest, relative
from glassbox_dsl.run.delta.trust import verify_pack
from glassbox_dsl.run.implementations import implementations
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

LENGTH: Final = 10
LOGITS: Final = SiteKey("logits")


def verify(instrument: Instrument) -> tuple[Check, ...]:
    """All checks of a model, in order. Takes about 20 short passes."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, instrument.facts.vocab_size, (2, LENGTH), generator=generator)
    exact = instrument.dtype == torch.float32
    noise = FLOAT_NOISE if exact else HALF_NOISE
    steps: dict[str, Callable[[], Iterator[Check]]] = {
        "T1": lambda: _same_as_eager(instrument, ids, 0.0 if exact else noise),
        "T2": lambda: _layers_in_order(instrument, ids),
        "T3": lambda: _causal(instrument, ids, noise),
        "T4": lambda: _apart(instrument, ids, noise),
        "T6": lambda: _again(instrument, ids),
        "T7": lambda: _identities(instrument, ids, noise),
        "T7 own": lambda: _own_values(instrument, ids),
        "T7 edit": lambda: _edits(instrument, ids),
        "T4 pack": lambda: verify_pack(instrument),
    }
    return tuple(
        found
        for name, step in steps.items()
        for found in _guarded(name.replace(" own", "").replace(" edit", ""), step)
    )


def _guarded(name: str, step: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of a step; an exception in it is a failure of the model, not of the program."""
    try:
        yield from step()
    except Exception as problem:
        yield check(name, float("inf"), 0.0, f"{type(problem).__name__}: {problem}")


def _logits(instrument: Instrument, ids: Tensor) -> Tensor:
    return instrument.forward(ids, reads={LOGITS})[LOGITS]


def _same_as_eager(instrument: Instrument, ids: Tensor, noise: float) -> Iterator[Check]:
    """T1: the registered attention function gives what the model's own eager code gives."""
    own = _logits(instrument, ids)
    model: Any = instrument.model
    _use(model, implementations(instrument.facts, plain=True))
    try:
        with torch.inference_mode():
            untouched = model(ids.to(instrument.device), use_cache=False, return_dict=True).logits
    finally:
        _use(model, implementations(instrument.facts))
    yield check("T1", relative(own, untouched), noise, "logits against the untouched eager model")


def _use(model: Any, functions: dict[str, str]) -> None:
    model.set_attn_implementation(functions["attn_implementation"])
    if "experts_implementation" in functions:
        model.set_experts_implementation(functions["experts_implementation"])


def _layers_in_order(instrument: Instrument, ids: Tensor) -> Iterator[Check]:
    """T2: each layer is called once, in order, on a stream, and reads what the one before it gave."""
    calls: list[tuple[int, Tensor, Tensor]] = []

    def note(n: int, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], out: object) -> None:
        left = out[0] if isinstance(out, tuple) else out
        assert isinstance(left, Tensor)
        calls.append((n, args[0] if args else kwargs["hidden_states"], left))

    layers = [layer.layer for layer in instrument.modules.layers]
    handles = [
        layer.register_forward_hook(partial(note, n), with_kwargs=True) for n, layer in enumerate(layers)
    ]
    try:
        _logits(instrument, ids)
    finally:
        for handle in handles:
            handle.remove()
    in_order = [n for n, _, _ in calls] == list(range(len(layers)))
    yield check("T2", float(not in_order), 0.0, f"{len(calls)} calls of {len(layers)} layers, in order")
    shape = (*ids.shape, instrument.facts.d_model)
    breaks = sum(left.shape != shape for _, _, left in calls)
    breaks += sum(not _equal(calls[i][2], calls[i + 1][1]) for i in range(len(calls) - 1))
    yield check("T2", float(breaks), 0.0, "layers whose input is not the output of the one before")


def _equal(left: Tensor, read: Tensor) -> bool:
    """Whether a layer reads what the one before left, wherever the two layers stand."""
    return torch.equal(left.to(read.device), read)


def _causal(instrument: Instrument, ids: Tensor, noise: float) -> Iterator[Check]:
    """T3: another last token leaves everything before it as it was."""
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % instrument.facts.vocab_size
    before, after = (_logits(instrument, i)[:, :-1] for i in (ids, other))
    yield check("T3", relative(after, before), noise, "logits before a changed last token")


def _apart(instrument: Instrument, ids: Tensor, noise: float) -> Iterator[Check]:
    """T4: prompts in one batch equal the prompts by themselves."""
    together = _logits(instrument, ids)
    apart = torch.cat([_logits(instrument, one[None]) for one in ids])
    yield check("T4", relative(together, apart), noise, "a batch against its prompts apart")


def _again(instrument: Instrument, ids: Tensor) -> Iterator[Check]:
    """T6: nothing is remembered from a longer prompt."""
    first = _logits(instrument, ids[:, : LENGTH // 2])
    _logits(instrument, ids)
    again = _logits(instrument, ids[:, : LENGTH // 2])
    yield check("T6", furthest(first, again), 0.0, "a prompt again after a longer one, bitwise")


def _identities(instrument: Instrument, ids: Tensor, noise: float) -> Iterator[Check]:
    """T7: what is added arrives; heads sum to the output; the pattern mixes the values; the end gives the logits."""
    n_layers, layers = instrument.facts.n_layers, instrument.modules.layers
    names = ["resid_pre", "resid_post", "attn.out", "mlp.out", "attn.pattern", "attn.v", "attn.z"]
    taken_apart = "attn.result" not in instrument.facts.absent
    names += ["attn.result", "attn.out_raw"] if taken_apart else []
    keys = [SiteKey(name, layer) for layer in range(n_layers) for name in names]
    got = instrument.forward(ids, reads=[*keys, LOGITS])
    group = instrument.facts.n_heads // instrument.facts.n_kv_heads
    errors: dict[str, list[Tensor]] = {"resid_post": [], "attn.z": [], "attn.result": []}
    for number, layer in enumerate(layers):
        at = {name: got[SiteKey(name, number)] for name in names}
        mixed = at["attn.pattern"] @ at["attn.v"].repeat_interleave(group, dim=1)
        errors["resid_post"].append(
            relative(at["resid_pre"] + at["attn.out"] + at["mlp.out"], at["resid_post"])
        )
        errors["attn.z"].append(relative(mixed, at["attn.z"]))
        if taken_apart:
            bias = getattr(layer.out_proj.module, "bias", None)
            summed = at["attn.result"].sum(1) + (0.0 if bias is None else bias.detach())
            errors["attn.result"].append(relative(summed, at["attn.out_raw"]))
    details = {
        "resid_post": "resid_post = resid_pre + attn.out + mlp.out, worst layer",
        "attn.z": "pattern @ v = z, worst layer",
        "attn.result": "results sum to attn.out_raw less its bias, worst layer",
    }
    for site, found in errors.items():
        if not found:
            continue
        worst = torch.stack([error.cpu() for error in found]).max()  # NaN stays NaN
        yield check("T7", worst, noise, details[site], site)
    end = instrument.unembed(got[SiteKey("resid_post", n_layers - 1)])
    yield check(
        "T7", relative(end, got[LOGITS]), noise, "the end of the stream unembeds to the logits", "logits"
    )


def _writable(instrument: Instrument) -> list[str]:
    return [name for name in sites() if instrument.facts.writable(name)]


def _own_values(instrument: Instrument, ids: Tensor) -> Iterator[Check]:
    """T7: a site set to its own value everywhere changes no bit. All at once; one by one only if that fails."""
    end, facts = [LENGTH - 1], instrument.facts
    keys = {
        name: [
            SiteKey(name, layer)
            for layer in (facts.layers_with(name) if sites()[name].has_layer else (None,))
        ]
        for name in _writable(instrument)
    }
    every = [key for some in keys.values() for key in some]
    own = instrument.forward(ids, reads={*every, LOGITS}, logit_positions=end)

    def moved(some: list[SiteKey]) -> Tensor:
        writes = {key: partial(_copy_of, own[key]) for key in some}
        after = instrument.forward(ids, reads={LOGITS}, writes=writes, logit_positions=end)
        return furthest(after[LOGITS], own[LOGITS])

    together = float(moved(every)) == 0
    for name, some in keys.items():
        value = 0.0 if together else moved(some)
        yield check("T7", value, 0.0, "set to its own value: change of the logits, bitwise", name)


def _copy_of(own: Tensor, _: Tensor) -> Tensor:
    return own.clone()


def _edits(instrument: Instrument, ids: Tensor) -> Iterator[Check]:
    """T7: at a late layer, half of the cells changed are read back as written and reach the logits."""
    late, end = max(0, instrument.facts.n_layers - 2), [LENGTH - 1]
    names = _writable(instrument)
    layers = {name: nearest(instrument.facts, name, late) for name in names if sites()[name].has_layer}
    entries = {layer: SiteKey("resid_pre", layer) for layer in {late, *layers.values()}}
    base = instrument.forward(ids, reads={*entries.values(), LOGITS}, logit_positions=end)
    for name in names:
        layer = layers.get(name, late)
        key = SiteKey(name, layer if name in layers else None)
        start = None if name in ("embed", "pos_embed") else (layer, base[entries[layer]])
        written: list[Tensor] = []
        write = partial(_stretch, written)
        got = instrument.forward(
            ids, reads={key, LOGITS}, writes={key: write}, logit_positions=end, start=start
        )
        unread = int(((got[key] != written[0]) & ~(got[key].isnan() & written[0].isnan())).sum())
        size = float(furthest(got[LOGITS], base[LOGITS]))
        detail = (
            f"half of its cells x 1.5: cells not read as written, or 1 if no logit moves; moved {size:.3g}"
        )
        yield check("T7", unread if 0 < size < float("inf") else unread + 1, 0.0, detail, name)


def _stretch(written: list[Tensor], value: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    chosen = torch.rand(value.shape, generator=draw).to(value.device) < 0.5
    written.append(torch.where(chosen, value * 1.5, value))
    return written[0]
