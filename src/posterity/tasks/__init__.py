"""One module per rule: read files, call the package, write files."""
