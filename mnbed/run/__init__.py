"""The life cycle of a run: launch, control, collection, teardown; and sweeps, which are runs one after the other.

May import: results, network, plan, experiment, records, run_directory, machine, programs, errors; the
version in mnbed itself; node_agent.
"""
