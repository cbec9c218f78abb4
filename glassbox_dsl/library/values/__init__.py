"""Value functions, one file each."""
