"""Compute core for the manifold memorization hypothesis (arXiv 2411.00113)."""
