"""All lines that speak of one try of one client become one attempt, with one outcome.

``attempts`` is the station: it holds ``claims`` for a few seconds, ``sessions`` and ``front_ends`` say what was told
already, ``outages`` what is nobody's fault, ``bursts`` what is one mistake of one person.
"""
