"""Runs a module of mnbed as a program: `python -s .../mnbed/start.py MODULE ARGUMENTS`.

Unlike `python -m`, it imports nothing from the working directory, which matters when the program is root.
"""

import os
import sys

# Python has put this file's own folder first; the package's parent belongs there.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

if __name__ == "__main__":
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
