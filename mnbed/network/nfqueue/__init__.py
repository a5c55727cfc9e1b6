"""Delay on kernels without netem: packets wait in NFQUEUE, and one process releases them when they are due."""
