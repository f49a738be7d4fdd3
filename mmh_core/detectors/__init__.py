"""Detectors of memorization: one number per picture, higher = more memorized."""
