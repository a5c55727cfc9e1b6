"""The life cycle of one run: launch, control, collection, teardown; and sweeps, which are runs one after the other.

May import: results, network, plan, experiment, run_directory, machine, programs, errors; the version in mnbed itself;
node_agent.
"""
