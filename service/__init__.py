"""The query layer: the same functions behind the command line and HTTP."""
