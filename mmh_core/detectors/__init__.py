"""Detectors of memorization: one number per image, higher = more memorized."""
