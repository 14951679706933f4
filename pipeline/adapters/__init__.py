"""Everything that touches the world: the only importers of client libraries.

By world, a folder each; what several of them use lies beside the folders.
"""
