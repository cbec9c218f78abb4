"""Names to facts: model configs, families, tokenizers; no weights, no torch."""
