"""From a log line's event to tallies.

``join`` and ``echoes`` tell which lines speak of the same, ``enrich`` adds country, network and channel, ``tally``
counts; ``normalizer`` composes them, ``stage`` is the work of ``jobs/normalize``.
"""
