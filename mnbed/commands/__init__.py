"""One module per verb of the command line: its docstring is the help text, its `main` does the work."""
