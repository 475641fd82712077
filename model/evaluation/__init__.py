"""Scores of networks on pairs, as the literature computes them."""
