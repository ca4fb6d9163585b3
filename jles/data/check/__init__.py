"""Is a data set what it should be? `jles data check` prints the answer."""
