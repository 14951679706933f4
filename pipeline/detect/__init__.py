"""From tallies to decisions.

``judge`` asks the rules, ``allowlist`` and ``granted`` spare, ``decide`` says what follows; ``detector`` composes them
for the subjects of a partition, ``stage`` is the work of ``jobs/detect``.
"""
