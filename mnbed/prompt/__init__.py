"""The prompt on a standing network: a user of runs, not a part of them.

May import: run, results, network, plan, experiment, machine, units, console, errors.
"""
