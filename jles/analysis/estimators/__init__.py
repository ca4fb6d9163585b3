"""Estimators: NumPy arrays in, numbers with errors out; no files and no pictures."""
