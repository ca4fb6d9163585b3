"""Measurements on runs of `jles md`: spectra, transport, fluctuations, loops, structure."""
