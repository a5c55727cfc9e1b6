"""What a run and a sweep leave on disk, as types: each file's fields are named here, for writers and readers alike.

The tables of docs/run-directory.md are made from the docstrings in this folder and in `node_agent/records.py`.
May import: errors; node_agent.
"""
