"""Synthetic manifolds with known LID, and small real image sets."""
