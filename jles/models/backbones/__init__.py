"""Backbones: networks that turn the environment of every atom into features."""
