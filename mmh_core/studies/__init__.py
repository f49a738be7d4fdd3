"""Studies: a frozen config in, progress records out."""
