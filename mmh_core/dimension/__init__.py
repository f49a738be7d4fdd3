"""Local intrinsic dimension of models and of data."""
