"""File formats of graphs: each module reads text into a raw graph, and writes a graph as text.

`topologies/files.py` chooses one by the file's ending; they import the package's other modules.
"""
