"""One file per chart; each defines CHART."""
