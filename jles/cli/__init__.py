"""The program `jles`: `main` reads the command line; one module per command runs it."""
