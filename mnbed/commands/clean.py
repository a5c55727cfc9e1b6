"""Remove what a killed run left behind: only mnbed's own processes, and the namespaces and interfaces they hold."""

from __future__ import annotations


def main() -> int:
    """Exit status 3 if a run is in progress: end it first."""
    import os

    from mnbed.errors import MachineError
    from mnbed.network.leftovers import remove_leftovers
    from mnbed.run.lock import run_lock

    if os.geteuid() != 0:
        raise MachineError("mnbed clean needs root", "sudo mnbed clean")
    with run_lock("clean"):
        done = remove_leftovers()
    for line in done:
        print(line)
    print("Nothing to remove." if not done else "Clean.")
    return 0
