"""mnbed: a Mininet-based network emulation testbed for decentralized learning (the controller side)."""

__version__ = "0.1.0"
