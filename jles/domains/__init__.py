"""Parts of a structure that are evaluated apart from one another."""
