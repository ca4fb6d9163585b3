"""From files to batches: frames, splits, element energies, size buckets."""
