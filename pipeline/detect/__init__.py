"""From tallies to decisions.

``judge`` asks the rules, ``decide`` and ``allowlist`` say what follows, ``detector`` composes them for the subjects of
a partition, ``stage`` is the work of ``jobs/detect``.
"""
