"""From a log line's event to tallies.

``join`` asks ``messages`` (with ``webmail``), ``sessions`` and ``echoes`` which lines speak of the same, and
``generations`` bounds what they remember; ``enrich`` adds country, network and channel; ``tally`` counts.
``normalizer`` composes them, ``stage`` is the work of ``jobs/normalize``. What another line told already does not count
again: ``Event.told``.
"""
