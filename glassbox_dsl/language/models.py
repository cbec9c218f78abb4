"""`model NAME = SOURCE(...)`: the call becomes a `ModelSource`; nothing is opened here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from glassbox_dsl.diagnostics import did_you_mean
from glassbox_dsl.language import errors
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.models import ModelSource, SourceKind

EVERY = {
    "dtype": ("float32", "bfloat16", "float16"),
    "device": None,
    "bos": ("true", "false"),
    "adapter": str,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "bundled": {},
    "hub": {"revision": str},
    "local": {},
    "gguf": {},
    "tiny": {"layers": int, "seed": int, "tokenizer": str},
}
USAGE = {
    "bundled": 'bundled("smollm2-135m")',
    "hub": 'hub("org/name", revision: "...")',
    "local": 'local("folder")',
    "gguf": 'gguf("model.gguf")',
    "tiny": 'tiny("llama", layers: 2, seed: 0)',
}


def read_model(node: nodes.Model, root: Path) -> ModelSource:
    """The source that a model declaration names."""
    call = node.call
    kind = call.function.id if isinstance(call.function, nodes.Name) else call.function.span.text
    if kind not in OPTIONS:
        headline = f"unknown model source `{kind}`"
        raise Problem(
            errors.bad_model(
                call.function.span, headline, "models come from a source", did_you_mean(kind, OPTIONS)
            )
        )
    positional = [a.value for a in call.arguments if a.name is None]
    if len(positional) != 1 or not isinstance(positional[0], nodes.String) or not positional[0].value:
        raise Problem(
            errors.bad_model(call.span, f"`{kind}` takes one text", "which model?", f"write `{USAGE[kind]}`")
        )
    fields = {a.name: option(kind, a) for a in call.arguments if a.name is not None}
    beside = Path(node.span.source.path).resolve().parent
    if fields.get("adapter") is not None:
        fields["adapter"] = str((beside / fields["adapter"]).resolve())
    target = positional[0].value
    if kind in ("local", "gguf"):
        target = str((beside / target).resolve())
    return ModelSource(name=node.name, kind=cast(SourceKind, kind), target=target, span=call.span, **fields)


def option(kind: str, argument: nodes.Argument) -> Any:
    """The value of one option."""
    known = {**EVERY, **OPTIONS[kind]}
    name = str(argument.name)
    if name not in known:
        raise Problem(errors.bad_model(argument.span, f"`{kind}` has no option `{name}:`", "unknown option",
                                       did_you_mean(name, known)))  # fmt: skip
    value, wanted = argument.value, known[name]
    if (
        wanted is int
        and isinstance(value, nodes.Number)
        and isinstance(value.value, int)
        and value.value >= 0
    ):
        return value.value
    if wanted is str and isinstance(value, nodes.String):
        return value.value
    if isinstance(wanted, tuple) and isinstance(value, nodes.Name) and value.id in wanted:
        return value.id == "true" if name == "bos" else value.id
    if name == "device" and (device := device_name(value)) is not None:
        return device
    kinds = {int: "a whole number", str: "a text"}
    says = (
        ", ".join(wanted)
        if isinstance(wanted, tuple)
        else kinds.get(wanted, 'auto, cpu, cuda or a text like "cuda:1"')
    )
    raise Problem(
        errors.bad_model(
            argument.value.span,
            f"`{name}:` does not take this",
            "the wrong kind of value",
            f"it takes {says}",
        )
    )


def device_name(value: nodes.Expr) -> str | None:
    """`auto`, `cpu`, `cuda`, `spread` or a text such as "cuda:1"."""
    if isinstance(value, nodes.Name) and value.id in ("auto", "cpu", "cuda", "spread"):
        return value.id
    if isinstance(value, nodes.String) and (
        value.value in ("auto", "cpu", "cuda") or value.value.startswith("cuda:")
    ):
        return value.value
    return None
