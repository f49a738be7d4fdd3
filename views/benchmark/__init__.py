"""The comparison of detectors."""
