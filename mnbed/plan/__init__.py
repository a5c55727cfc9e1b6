"""What will happen, pure: experiment and machine facts become names, addresses, routes, rates and a budget.

`model` is what a plan is, `make` how it is made; users of plans import `model` alone.
May import: experiment, machine, units, errors; node_agent, topologies. No files, processes or clocks.
"""
