"""Mitigations compared with no mitigation, at inference and in training."""
