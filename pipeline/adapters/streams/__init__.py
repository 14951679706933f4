"""Streaming jobs on Faust.

``app`` is the client, ``job`` has the partitions, ``held`` is the work on one of them, ``states`` what is saved of it.
``topics`` and ``lives`` say whether what is read is still what was read before, ``watch`` what may change meanwhile.
``sweeper`` keeps the topic of decisions small. ``worker`` is the process, ``ending`` how it ends.
"""
