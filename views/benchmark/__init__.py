"""Draw the comparison of detectors."""
