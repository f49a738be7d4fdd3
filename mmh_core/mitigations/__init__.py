"""Mitigations: each turns a generation request into one that copies less, from the same noise."""
