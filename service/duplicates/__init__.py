"""Duplicates: what is alike, in which way, which to keep, and what leaks between two sets."""
