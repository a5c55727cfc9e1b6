"""Run a module of ours as a program: `python -s .../mnbed/start.py MODULE ARGUMENTS`.

Unlike `python -m`, it imports nothing from the folder that the user stands in, which matters where the program is root.
"""

import os
import sys

# Python has put this file's own folder there.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

if __name__ == "__main__":
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
