"""What a `data` block declares, settled without any tokenizer: sources, templates, answers, features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassbox_dsl.source import Span
from glassbox_dsl.syntax.nodes import Expr, Frozen

FEWEST_ITEMS = 2
"""With fewer items a data set says nothing: there is no mean, and no interval of one."""


class Part(Frozen):
    """Anything inside a `DataSpec`."""

    span: Span


# ---------------------------------------------------------------- templates


class Piece(Part):
    """One stretch of a template; `label` names the token span of what it inserts (None: plain text)."""

    label: str | None = None


class Text(Piece):
    """Text as it stands; with a label, `{label: "text"}`."""

    text: str


class Insert(Piece):
    """The value of a variable, or of a field of it."""

    variable: str
    field: str | None = None


class Template(Part):
    """A text with holes."""

    pieces: tuple[Piece, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of the text."""
        return tuple(p.label for p in self.pieces if p.label is not None)


# ---------------------------------------------------------------- sources of items


class Slot(Part):
    """`a, b from VALUES`: the names take distinct values of one list. `values` holds no value twice."""

    names: tuple[str, ...]
    values: tuple[Any, ...]


class SlotSource(Part):
    """Every combination of the slots is an item that can be drawn."""

    slots: tuple[Slot, ...]


class RowSource(Part):
    """Rows as written or as a file holds them, in order. `described` says where they come from."""

    rows: tuple[dict[str, Any], ...]
    described: str


class Draw(Part):
    """`draw N, seed: S`."""

    count: int
    seed: int = 0


# ---------------------------------------------------------------- prompts


class PromptSpec(Part):
    """One prompt of the data set. `labels`: all span labels that it defines, in any of its templates."""

    name: str
    labels: tuple[str, ...] = ()


class TextVariant(Part):
    """One template of a prompt; `system` and `chat` where the model's chat template is applied around it."""

    template: Template
    chat: bool = False
    system: Template | None = None


class TextPrompt(PromptSpec):
    """A template, or a list of them of which an item uses the one with its number."""

    variants: tuple[TextVariant, ...]


class RepeatedTokens(PromptSpec):
    """`length` ordinary tokens of the model's vocabulary, `repeats` times over."""

    length: int
    repeats: int


class Chunks(PromptSpec):
    """Running text in pieces of `tokens` tokens (a BOS not counted)."""

    path: str
    tokens: int


class LiteralTokens(PromptSpec):
    """Token ids as written."""

    ids: tuple[int, ...]


# ---------------------------------------------------------------- answers


class AnswerPart(Part):
    """One way to give an answer."""


class TemplateAnswer(AnswerPart):
    """A template."""

    template: Template


class ValueAnswer(AnswerPart):
    """A variable or field that holds a text or a list of texts."""

    variable: str
    field: str | None = None


class NamedAnswer(AnswerPart):
    """Another answer of the data set."""

    name: str


class FirstToken(AnswerPart):
    """The first token of each alternative of `of`."""

    of: tuple[AnswerPart, ...]


class AnswerSpec(Part):
    """An answer: the union of its parts. `is_set`: it was written as a list (a set with one member, even)."""

    name: str
    parts: tuple[AnswerPart, ...]
    is_set: bool = False


# ---------------------------------------------------------------- features and conditions


class FeatureSpec(Part):
    """A label or class of an item. `axes` is () or ("pos",); `binders` the variables that stand for them.

    `about`: the prompts whose tokens it reads; with an axis, its values belong to the positions of the first.
    """

    name: str
    axes: tuple[str, ...] = ()
    binders: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    value: Expr


class KeepSpec(Part):
    """`keep where CONDITION`; with `needs_model` it mentions a run, a prompt's pass or a metric."""

    condition: Expr
    needs_model: bool
    text: str


class DataSpec(Part):
    """A data set before any tokenizer has seen it.

    `fields` gives, for each variable that holds records, the fields that all of them have. `constants` are
    the literal `let`s of the file that features and answers may name. `templates`: how many an item
    chooses from.
    """

    name: str
    source: SlotSource | RowSource | None
    variables: tuple[str, ...]
    kinds: Mapping[str, tuple[str, ...]]
    fields: dict[str, tuple[str, ...]]
    constants: dict[str, Any]
    prompts: dict[str, PromptSpec]
    answers: dict[str, AnswerSpec]
    features: dict[str, FeatureSpec]
    keeps: tuple[KeepSpec, ...]
    draw: Draw | None
    templates: int = 1
