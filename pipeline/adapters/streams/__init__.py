"""Streaming jobs on Faust.

``app`` is the client, ``job`` has the partitions, ``states`` what is saved of them, ``watch`` what may change
meanwhile, ``worker`` is the process, ``sweeper`` keeps the topic of decisions small.
"""
