"""The `data` block: from the syntax tree to a data set whose names are settled, without any tokenizer."""

from glassbox_dsl.language.data.answers import inline_answer
from glassbox_dsl.language.data.declare import declare_data
from glassbox_dsl.language.data.spec import AnswerSpec, DataSpec, FeatureSpec, KeepSpec, PromptSpec

__all__ = ["AnswerSpec", "DataSpec", "FeatureSpec", "KeepSpec", "PromptSpec", "declare_data", "inline_answer"]
