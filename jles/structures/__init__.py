"""Structures as arrays: one record, its neighbours, padding and batches."""
