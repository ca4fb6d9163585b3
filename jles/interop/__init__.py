"""Models from elsewhere, read without the programs that wrote them."""
