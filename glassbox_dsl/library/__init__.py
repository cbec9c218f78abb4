"""Metrics and value functions: one file each, found by their folder.

Nothing here imports torch: the functions work on the tensors they are given through the tensors' own methods,
so that the language stage can read names, signatures and documentation without loading it.
"""
