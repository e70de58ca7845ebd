"""The paths of the API, one module per subject: parse, call, answer."""
