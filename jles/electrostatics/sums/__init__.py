"""Ways to sum smeared multipoles: reciprocal space, particle mesh, clusters and slabs."""
