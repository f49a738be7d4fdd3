"""Mitigations: from a request to a request that copies less, on the same starting noise."""
