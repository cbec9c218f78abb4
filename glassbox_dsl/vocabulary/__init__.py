"""The nouns that every stage shares: axes, sites, sources of models."""
