"""Where results land: one DuckDB file with insert-only tables, and a view per measure named as in the .gbx
file."""
