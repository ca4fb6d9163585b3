"""Models as users hold them: atoms in, results out."""
