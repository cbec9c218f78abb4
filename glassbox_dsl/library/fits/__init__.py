"""Kinds of fits: one file each, with a constant `FIT`."""
