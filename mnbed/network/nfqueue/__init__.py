"""Delay on kernels without netem: packets wait in NFQUEUE, and one process releases them when they are due.

Part of `network`, with the same imports; the process itself (delay_queue and what it uses) imports little, because it
is started with every such network.
"""
