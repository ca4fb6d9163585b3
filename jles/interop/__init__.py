"""Import of published torch models, without torch."""
