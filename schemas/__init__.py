"""What crosses a boundary: table schemas, records, and the tree of errors."""
