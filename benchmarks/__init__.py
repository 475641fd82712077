"""Measurements against the plain way, side by side in one run; ``make bench`` prints ratios."""
