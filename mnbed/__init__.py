"""mnbed: a Mininet-based network emulation testbed for decentralized learning (the controller side).

The folders follow the story of a run: experiment -> plan -> network -> run -> results, with commands and prompt as
their users. Each says in its first lines what it holds and what it may import; what all share lies beside them.
"""

__version__ = "0.1.0"
