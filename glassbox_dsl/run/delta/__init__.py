"""The delta executor: prompts and cells climb the layers as rows of one pack, and only what differs is computed."""
