"""Detection of memorized prompts: scan, calibration, benchmark."""
