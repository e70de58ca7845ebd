"""The published methods as pure functions of arrays."""
