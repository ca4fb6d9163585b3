"""The demo: hidden point charges are learned from energies and forces alone."""
