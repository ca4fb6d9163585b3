"""Training: losses, optimisation steps, the loop, checkpoints and metrics."""
