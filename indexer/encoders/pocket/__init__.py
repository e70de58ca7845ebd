"""The built-in model: its files, its card and the programs that make it."""
