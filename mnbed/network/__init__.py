"""The emulated network: Mininet hosts and switches, forwarding, shaping, delay, leftovers.

It carries a plan out and decides nothing. May import: plan, machine, programs, errors; node_agent, topologies.
"""
