"""One module per verb of the command line: its docstring is the help text, its `main` does the work.

May import, inside the functions that need it: prompt, run, results, network, topology_view, plan, experiment,
records, run_directory, machine, units, console, errors; topologies. Only cli imports this part.
"""
