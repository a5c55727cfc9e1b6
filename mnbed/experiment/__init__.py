"""What was asked: the experiment file, its sections, how it is read, checked and explained. Knows no machine.

May import: units, errors; node_agent (the settings of algorithms and tasks), topologies.
"""
