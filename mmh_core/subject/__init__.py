"""What is examined: a model, its training set, its calibration and what is known of its data."""
