"""The manifolds page."""
