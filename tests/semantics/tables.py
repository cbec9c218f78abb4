"""Small data sets as `.gbx` text, and the same items tokenised here for the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest


@dataclass(frozen=True)
class Table:
    """A data set of written rows: prompts are templates, answers are `.gbx` expressions."""

    rows: tuple[dict[str, str], ...]
    prompts: dict[str, str]
    answers: dict[str, str] = field(default_factory=dict)
    more: str = ""
    name: str = "d"

    @property
    def text(self) -> str:
        """The `data` declaration."""
        rows = ", ".join("{" + ", ".join(f'{k}: "{v}"' for k, v in row.items()) + "}" for row in self.rows)
        lines = [f"rows [{rows}]", *(f'prompt {n} = "{t}"' for n, t in self.prompts.items())]
        lines += [*(f"answer {n} = {t}" for n, t in self.answers.items()), self.more]
        return "data " + self.name + " {\n  " + "\n  ".join(lines) + "\n}\n"

    def items(self, fam):
        """Every item with its number, its row and its prompts under their names."""
        return [
            SimpleNamespace(
                number=number,
                row=row,
                **{name: fam.speak.prompt(template, **row) for name, template in self.prompts.items()},
            )
            for number, row in enumerate(self.rows)
        ]


# `clean` and `corrupt` agree in length and in where their labels stand, item by item; items differ in both.
PEOPLE = Table(
    rows=(
        {"a": "Anna", "b": "Bob", "d": "Dan", "kind": "short"},
        {"a": "Eve", "b": "Carla", "d": "Zebulon", "kind": "long"},
        {"a": "Bob", "b": "Eve", "d": "Dan", "kind": "short"},
        {"a": "Dan", "b": "Anna", "d": "Ottoline", "kind": "long"},
    ),
    prompts={
        "clean": "When {a} and {b} went, {c: a} gave {d} a",
        "corrupt": "When {a} and {b} went, {c: b} gave {d} a",
        "other": "the {b} said the red {d} and {c: a} went to the store",
    },
    answers={"yes": '" {a}"', "no": '" {b}"'},
)
# All items have the same length, and labels at the same places.
EVEN = Table(
    rows=(
        {"a": "Anna", "b": "Bob", "kind": "one"},
        {"a": "Eve", "b": "Carla", "kind": "two"},
        {"a": "Bob", "b": "Eve", "kind": "one"},
        {"a": "Dan", "b": "Anna", "kind": "two"},
        {"a": "Carla", "b": "Dan", "kind": "two"},
    ),
    prompts={
        "clean": "When {a} and {b} went to the {c: a} {e: b}",
        "corrupt": "When {b} and {a} went to the {c: b} {e: a}",
    },
    answers={"yes": '" {a}"', "no": '" {b}"'},
)


def same(found, measure, expected, tolerance=2e-4):
    """The measure has exactly these cells, with these numbers."""
    assert expected, f"{measure}: the test expects nothing"
    got = found.values[measure]
    right = {
        key: pytest.approx(float(value), abs=tolerance, rel=tolerance) for key, value in expected.items()
    }
    cells = sorted({*got, *right}, key=repr)
    wrong = {
        k: (got.get(k), right.get(k)) for k in cells if k not in got or k not in right or got[k] != right[k]
    }
    assert not wrong, f"{measure}: {len(wrong)} of {len(right)} cells are wrong (got, expected): {wrong}"
