"""The failure gallery of docs/why.md."""
