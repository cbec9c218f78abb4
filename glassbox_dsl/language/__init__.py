"""Syntax tree to meaning: names, axes and types are settled here, before any model is looked at."""
