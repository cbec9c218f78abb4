"""Data sets resolved: the same items for every model, as its token ids, with named spans."""

from glassbox_dsl.resolve.data.build import resolve_data
from glassbox_dsl.resolve.data.table import (
    AnswerTokens,
    DataNeeds,
    DataTable,
    Item,
    PromptTokens,
)

__all__ = ["AnswerTokens", "DataNeeds", "DataTable", "Item", "PromptTokens", "resolve_data"]
