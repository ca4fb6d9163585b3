"""What is measured from a run: spectra, transport, fluctuations, loops, structure."""
