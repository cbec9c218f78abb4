"""The wording of what can be wrong with hypotheses and scrubbed runs (GB272-GB276)."""

from __future__ import annotations

from collections.abc import Sequence

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span


def roots(span: Span, names: Sequence[str]) -> Diagnostic:
    """A hypothesis with no root, or with several."""
    told = (
        f"{', '.join(f'`{n}`' for n in names)} are read by nothing"
        if names
        else "every node is read by another"
    )
    return Diagnostic(
        "GB272",
        "a hypothesis has one root",
        span,
        told,
        "let one node be `node out = logits`, and others end in `-> READER`",
    )


def no_root(span: Span, text: str) -> Diagnostic:
    """A root that is not the output."""
    return Diagnostic(
        "GB272", f"the root of a hypothesis is `logits`, not `{text}`", span, "nothing reads this node",
        "write `node out = logits`, or say what reads the node: `-> READER`",
    )  # fmt: skip


def no_way(span: Span, name: str, root: str) -> Diagnostic:
    """Nodes that read one another in a circle."""
    return Diagnostic(
        "GB272", f"no way leads from `{name}` to `{root}`", span, "what reads it is read by itself in the end",
        "let every chain of readers end at the root",
    )  # fmt: skip


def no_part(span: Span, site: str, known: Sequence[str]) -> Diagnostic:
    """A node that is not something added to the stream."""
    shown = ", ".join(f"`{name}`" for name in known)
    return Diagnostic(
        "GB273",
        f"a node cannot stand for `{site}`",
        span,
        "nothing adds it to the residual stream",
        f"name one of {shown}",
    )


def position(span: Span) -> Diagnostic:
    """A node at some positions only."""
    return Diagnostic(
        "GB273", "a node stands for its part at all positions", span, "positions are chosen by what must agree",
        "leave the position out; `agree` a feature with `[pos]` is compared position by position",
    )  # fmt: skip


def no_port(span: Span, reader: str, port: str | None, site: str, ports: Sequence[str]) -> Diagnostic:
    """A reader without that input."""
    if site == "embed":
        label, help_ = "an embedding reads nothing but tokens", "let another node read this one"
    elif ports:
        label = "a head reads by its query, key or value" if port is None else f"a head has no port `{port}`"
        help_ = f"write {', '.join(f'`{reader}.{p}`' for p in ports)}"
    else:
        label, help_ = f"`{site}` has one input", f"write `-> {reader}`"
    return Diagnostic(
        "GB274", f"nothing can be read by `{reader}{f'.{port}' if port else ''}`", span, label, help_
    )


def no_feature(span: Span) -> Diagnostic:
    """Something else than features behind `agree`."""
    return Diagnostic(
        "GB275",
        "`agree` names features of the data",
        span,
        "this is no name",
        "write `agree f`, or `agree (f, g)` for both",
    )


def edited(span: Span) -> Diagnostic:
    """Edits of a scrubbed run."""
    return Diagnostic(
        "GB276", "a scrubbed run takes no edits", span, "the hypothesis says what is exchanged",
        "edit a `forward` run, or claim less in the hypothesis",
    )  # fmt: skip


def not_scrubbed(span: Span) -> Diagnostic:
    """`loss_recovered` of another kind of run."""
    return Diagnostic(
        "GB276", "`loss_recovered` scores a scrubbed run", span, "this is none",
        "write `run s = scrub(PROMPT, HYPOTHESIS)` and `loss_recovered(s, MODEL_RUN, metric: loss)`",
    )  # fmt: skip
