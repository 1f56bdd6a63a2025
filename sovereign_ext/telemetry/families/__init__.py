"""One module per family of metrics. A family makes its instruments, and says which facts and readings it wants."""
