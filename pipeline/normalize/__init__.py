"""From a log line's event to tallies.

``joining`` finds which lines speak of the same message; ``enrich`` adds country, network and channel; ``attempts``
makes one attempt of all lines about one try to log in; ``tally`` counts. ``generations`` bounds what is remembered.
``normalizer`` composes them, ``stage`` is the work of ``jobs/normalize``. What another line told already does not count
again: ``Event.told``.
"""
