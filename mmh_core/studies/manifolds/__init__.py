"""Diffusion models on synthetic manifolds: training, LID estimates, hypothesis."""
