"""Prompts tokenised with the tokenizers library alone, with the spans of their labels."""

from __future__ import annotations

import re

PART = re.compile(r"\{(?:(\w+): )?(?:(\w+)|\"([^\"]*)\")\}")


class Speaker:
    """Token ids of texts, and of templates with their spans."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def ids(self, text):
        """Tokens of a text alone, nothing added."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def one(self, text):
        """The one token of a text."""
        [token] = self.ids(text)
        return token

    def prompt(self, template, **row):
        """A `Prompt` of a template whose variables stand in `row`."""
        text, labelled, end = "", {}, 0
        for match in PART.finditer(template):
            text += template[end : match.start()]
            label, name, fixed = match.groups()
            inserted = fixed if name is None else row[name]
            labelled[label or name] = (len(text), len(text) + len(inserted))
            text, end = text + inserted, match.end()
        text += template[end:]
        encoding = self.tokenizer.encode(text)
        spans = {}
        for label, (low, high) in labelled.items():
            mine = [i for i, (a, b) in enumerate(encoding.offsets) if a < high and b > low]
            spans[label] = (mine[0], mine[-1])
        return Prompt(encoding.ids, spans)


class Prompt(list):
    """Token ids; `spans`: first and last token of every label."""

    def __init__(self, ids, spans):
        super().__init__(ids)
        self.spans = spans

    def first(self, label):
        return self.spans[label][0]

    def last(self, label):
        return self.spans[label][1]

    def span(self, label):
        low, high = self.spans[label]
        return list(range(low, high + 1))
