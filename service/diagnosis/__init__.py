"""Plots of how photos and texts lie in each space, as a report."""
