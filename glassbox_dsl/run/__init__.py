"""The stage that computes: the only one that imports torch and transformers."""
