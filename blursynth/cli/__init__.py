"""The command line: options in, one function called, what was written out."""
