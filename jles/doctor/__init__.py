"""What is installed, and whether it computes correctly."""
