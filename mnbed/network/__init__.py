"""The emulated network: Mininet hosts and switches, forwarding, shaping, delay, leftovers."""
