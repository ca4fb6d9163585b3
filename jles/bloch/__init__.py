"""Bloch-weighted derivatives: exact (k -> 0) Born charges of periodic cells."""
