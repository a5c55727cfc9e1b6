"""What the user asks for: the experiment file, its sections, and how it is read and checked. Knows no machine.

May import: units, errors; node_agent (the settings of algorithms and tasks), topologies.
"""
