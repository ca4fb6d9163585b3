"""Training: losses, steps, the loop and what it leaves."""
