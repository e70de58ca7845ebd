"""Vectors and columns in and out of a collection, in the layouts that others write."""
