"""The emulated network: Mininet hosts and switches, forwarding, shaping, delay, leftovers.

It carries out a plan and decides nothing itself. May import: plan, records, machine, programs, errors; node_agent,
topologies.
"""
