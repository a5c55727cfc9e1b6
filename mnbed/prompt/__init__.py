"""The prompt on a live network: a user of runs, not a part of them.

May import: run, results, network, plan, experiment, records, machine, units, console, errors.
"""
