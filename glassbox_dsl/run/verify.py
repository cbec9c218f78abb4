"""Trust is checked, not assumed: what `gbx` verifies on the first use of a model (DESIGN.md section 2, T1-T7).

T1 logits equal those of the untouched eager model; T2 every layer is called once, in order, on the stream; T3 the
last token changes nothing before it; T4 prompts together equal prompts apart; T6 a prompt again after a longer one is
bit-equal; T7 the identities of the residual stream, and at every writable site an edit to its own value changes
nothing while another value does. (T5 is about recorded calls, which the hooked executor does not make.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from glassbox_dsl.run.attention import ATTENTION
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

LENGTH = 12
FLOAT_NOISE = 1e-4
"""Share of a value's size that float32 arithmetic in another order may move it by."""
HALF_NOISE = 5e-2
"""The same for 16-bit models."""


class Check(BaseModel):
    """One verification: it passes when `value` is at most `tolerance`. `site` is set for checks of one site."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: str
    site: str = ""
    value: float
    tolerance: float
    ok: bool
    detail: str


def check(name: str, value: Tensor | float, tolerance: float, detail: str, site: str = "") -> Check:
    """A check; NaN fails it."""
    number = float(value)
    return Check(
        name=name, site=site, value=number, tolerance=tolerance, ok=number <= tolerance, detail=detail
    )


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """The largest difference as a share of the largest value."""
    return (found.float() - wanted.float()).abs().max() / wanted.float().abs().max().clamp(min=1e-6)


def verify(instrument: Instrument) -> tuple[Check, ...]:
    """All checks of a model, on a few tokens drawn with a fixed seed. Takes a few passes a site."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, instrument.facts.vocab_size, (2, LENGTH), generator=generator)
    noise = FLOAT_NOISE if instrument.dtype == torch.float32 else HALF_NOISE
    steps: dict[str, Callable[[], Iterator[Check]]] = {
        "T1": lambda: _same_as_eager(instrument, ids, noise),
        "T2": lambda: _layers_in_order(instrument, ids),
        "T3": lambda: _causal(instrument, ids, noise),
        "T4": lambda: _apart(instrument, ids, noise),
        "T6": lambda: _again(instrument, ids),
        "T7": lambda: _t7(instrument, ids, noise),
    }
    return tuple(found for name, step in steps.items() for found in _guarded(name, step))


def _guarded(name: str, step: Callable[[], Iterator[Check]]) -> tuple[Check, ...]:
    """The checks of a step; an exception in it is a failure of the model, not of the program."""
    try:
        return tuple(step())
    except Exception as problem:
        return (check(name, float("inf"), 0.0, f"{type(problem).__name__}: {problem}"),)


def _t7(instrument: Instrument, ids: Tensor, noise: float) -> Iterator[Check]:
    yield from _identities(instrument, ids, noise)
    yield from _edits(instrument, ids)


LOGITS = SiteKey("logits")


def _logits(instrument: Instrument, ids: Tensor) -> Tensor:
    return instrument.forward(ids, reads={LOGITS})[LOGITS]


def _same_as_eager(instrument: Instrument, ids: Tensor, noise: float) -> Iterator[Check]:
    """T1: the registered attention function gives what the model's own eager code gives."""
    own = _logits(instrument, ids)
    model = instrument.model
    set_attention: Callable[[str], None] = model.set_attn_implementation  # type: ignore[assignment]
    set_attention("eager")
    try:
        with torch.inference_mode():
            untouched = model(ids.to(instrument.device), use_cache=False, return_dict=True).logits
    finally:
        set_attention(ATTENTION)
    yield check("T1", relative(own, untouched), noise, "logits against the untouched eager model")


def _layers_in_order(instrument: Instrument, ids: Tensor) -> Iterator[Check]:
    """T2: each layer is called once, in order, and reads what the one before it gave."""
    calls: list[int] = []
    inputs: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}
    handles = []
    for number, layer in enumerate(instrument.modules.layers):

        def note(
            module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], out: object, n: int = number
        ) -> None:
            calls.append(n)
            inputs[n] = args[0] if args else kwargs["hidden_states"]
            outputs[n] = out[0] if isinstance(out, tuple) else out  # type: ignore[assignment]

        handles.append(layer.layer.register_forward_hook(note, with_kwargs=True))
    try:
        _logits(instrument, ids)
    finally:
        for handle in handles:
            handle.remove()
    n_layers = instrument.facts.n_layers
    yield check(
        "T2", float(calls != list(range(n_layers))), 0.0, f"{len(calls)} calls of {n_layers} layers, in order"
    )
    if len(inputs) == n_layers:
        breaks = sum(not torch.equal(outputs[n], inputs[n + 1]) for n in range(n_layers - 1))
        yield check("T2", float(breaks), 0.0, "layers whose input is not the output of the one before")


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
    yield check("T6", (first - again).abs().max(), 0.0, "a prompt again after a longer one, bitwise")


def _identities(instrument: Instrument, ids: Tensor, noise: float) -> Iterator[Check]:
    """T7: what is added is what arrives; heads sum to the output; the pattern mixes the values."""
    n_layers, absent = instrument.facts.n_layers, instrument.facts.absent
    names = ("resid_pre", "resid_post", "attn.out", "mlp.out", "attn.pattern", "attn.v", "attn.z")
    keys = {SiteKey(name, layer) for layer in range(n_layers) for name in names if name not in absent}
    got = instrument.forward(ids, reads=keys)
    worst, mixed = 0.0, 0.0
    group = instrument.facts.n_heads // instrument.facts.n_kv_heads
    for layer in range(n_layers):
        at = {name: got[SiteKey(name, layer)] for name in names}
        worst = max(
            worst, float(relative(at["resid_pre"] + at["attn.out"] + at["mlp.out"], at["resid_post"]))
        )
        values = at["attn.v"].repeat_interleave(group, dim=1)
        mixed = max(mixed, float(relative(at["attn.pattern"].to(values) @ values, at["attn.z"])))
    yield check("T7", worst, noise, "resid_post = resid_pre + attn.out + mlp.out, worst layer", "resid_post")
    yield check("T7", mixed, noise, "pattern @ v = z, worst layer", "attn.z")


def _edits(instrument: Instrument, ids: Tensor) -> Iterator[Check]:
    """T7: at each writable site, its own value changes nothing (bitwise), and another value reaches the logits."""
    end = [LENGTH - 1]  # enough to see an edit, and cheap where the vocabulary is large
    plain = instrument.forward(ids, reads={LOGITS}, logit_positions=end)[LOGITS]
    middle = instrument.facts.n_layers // 2
    for name, site in sites().items():
        if not site.built or not site.write or name in instrument.facts.absent:
            continue
        key = SiteKey(name, middle if site.has_layer else None)
        same = instrument.forward(ids, reads={LOGITS}, writes={key: torch.clone}, logit_positions=end)[LOGITS]
        yield check(
            "T7", (same - plain).abs().max(), 0.0, "set to its own value: change of the logits, bitwise", name
        )
        moved = instrument.forward(ids, reads={LOGITS}, writes={key: _changed}, logit_positions=end)[LOGITS]
        still = float(torch.equal(moved, plain) or not bool(torch.isfinite(moved).all()))
        size = float((moved - plain).abs().max())
        yield check("T7", still, 0.0, f"scaled by 1.1: moves the logits by up to {size:.3g}", name)


def _changed(value: Tensor) -> Tensor:
    return value * 1.1
