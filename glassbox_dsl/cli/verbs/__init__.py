"""One file per verb of `gbx`: `NAME.py` has the click command `NAME`, which returns the exit code (None: 0)."""
