"""Image and text towers behind one protocol."""
