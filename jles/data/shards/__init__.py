"""Data sets on disk that need not fit into memory: their files, how they are made and read."""
