"""The commands of `isophote`, one module per group: parse, call, print."""
