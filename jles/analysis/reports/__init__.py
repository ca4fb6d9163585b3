"""Reports: each reads runs and returns a table, a picture and lines of text."""
