"""Predictions of a model: atoms in, NumPy arrays out."""
