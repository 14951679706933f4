"""Message types, topics and JSON Schema: the bottom of the import graph, it imports nothing of ours.

Every message is a ``msgspec.Struct``. Writers are strict (types are checked when a message is built from
foreign data), readers ignore fields that they do not know, and changes are additive only. ``render`` writes
``rendered/*.schema.json`` for readers that are not Python; a test fails when those files are stale.
"""
