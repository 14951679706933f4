"""Streaming jobs on Faust.

``app`` is the client, ``job`` has the ``partitions``, ``topics`` says whether what is read is still what was read
before, ``progress`` whether anything comes, ``watch`` what may change meanwhile. ``sweeper`` keeps the topic of
decisions small. ``worker`` is the process, ``ending`` how it ends.
"""
