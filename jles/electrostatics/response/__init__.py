"""Induced moments, charge equilibration and applied fields."""
