"""Backbones, read-outs and the potential they make; Flax lives here and only here."""
