"""Streaming jobs on Faust: ``app`` (the client), ``job`` (partitions and their states), ``worker`` (the process)."""
