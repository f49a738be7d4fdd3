"""Scans of prompt lists and the items that are reviewed."""
