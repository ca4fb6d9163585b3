"""Backbones: networks that map the environment of every atom to features."""
