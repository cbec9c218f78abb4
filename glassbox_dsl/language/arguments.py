"""The arguments of a call: how many, which names, and options as words or whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glassbox_dsl.language import errors
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.library.value import value_functions
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes

USAGE = {
    **{name: f"{name}(x, over: {{item}}, within: FEATURE)" for name in ("mean", "std")},
    **{name: f"{name}(x, over: {{layer}})" for name in ("sum", "max", "min", "argmax")},
    "softmax": "softmax(x, over: head)",
    "correlation": "correlation(x, y, over: {item}, rank: false)",
    "resample": "resample(x, seed: 0, within: FEATURE)",
    "noise": "noise(scale: 1, seed: 0, like: x)",
    "unembed": "unembed(RUN.resid_post[layer, last], norm: final)",
    "direction": "direction(ANSWER)",
    "token": "token(PROMPT, at: last)",
    "scrub": "scrub(PROMPT, HYPOTHESIS, samples: 256, seed: 0)",
    "loss_recovered": "loss_recovered(SCRUBBED, MODEL_RUN, metric: loss)",
    "attribution": "attribution(RUN.attn.out[layer, last], logit(RUN, ANSWER))",
    "text": "text(RUN)",
    "grad": "grad(logit(RUN, ANSWER), RUN.resid_pre[layer, pos])",
    "estimate": "estimate(EXPR, method: gradient)",
    "accuracy": "accuracy(FIT)",
    "score": "score(FIT)",
    "auroc": "auroc(FIT(x), LABEL)",
    "load": 'load("file.safetensors", key: "name")',
}

SPELLED_OPTIONS = frozenset(
    {"seed", "test", "dim", "steps", "rate", "penalty", "rank", "signed", "temperature", "max_new_tokens"}
)
"""Options that have to be known before anything runs: a variable that stands for a number is read once for each."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call: positional, then by name."""

    function: str
    span: Span
    positional: tuple[nodes.Expr, ...]
    named: dict[str, nodes.Expr]
    usage: str = ""

    @classmethod
    def of(
        cls,
        function: str,
        span: Span,
        given: Sequence[nodes.Argument],
        words: Mapping[str, nodes.Expr],
        usage: str = "",
    ) -> Arguments:
        """The arguments as written; a variable in an option that is spelled out is exchanged for its number."""
        named = {
            a.name: words.get(a.value.id, a.value)
            if a.name in SPELLED_OPTIONS and isinstance(a.value, nodes.Name)
            else a.value
            for a in given
            if a.name is not None
        }
        return cls(function, span, tuple(a.value for a in given if a.name is None), named, usage)

    def problem(self, why: str) -> Problem:
        """The finding that these arguments do not fit."""
        known = value_functions().get(self.function)
        usage = self.usage or (known.example if known else USAGE.get(self.function, ""))
        return Problem(errors.bad_arguments(self.span, self.function, why, usage))

    def expect(self, low: int, high: int, names: Sequence[str]) -> None:
        """Check the number of positional arguments and the names of the others."""
        if not low <= len(self.positional) <= high:
            need = str(low) if low == high else f"{low} to {high}"
            raise self.problem(f"it takes {need} values, not {len(self.positional)}")
        for name in self.named:
            if name not in names:
                known = ", ".join(f"`{n}:`" for n in names) or "no options"
                raise self.problem(f"it has no option `{name}:` (it has {known})")

    def integer(self, name: str, default: int | None) -> int:
        """A whole-number option."""
        node = self.named.get(name)
        if node is None and default is not None:
            return default
        if not isinstance(node, nodes.Number) or not isinstance(node.value, int):
            raise self.problem(f"`{name}:` is a whole number")
        return node.value

    def word(self, name: str, words: Sequence[str], default: str | None, scope: Scope) -> str:
        """An option that is one of some words; a variable may stand for it."""
        node = self.named.get(name)
        if node is None and default is not None:
            return default
        if isinstance(node, nodes.Name) and node.id in scope.words:
            node = scope.words[node.id]
        if not isinstance(node, nodes.Name) or node.id not in words:
            raise self.problem(f"`{name}:` is one of {', '.join(words)}")
        return node.id
