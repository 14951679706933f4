"""On the mail server: what holds for a client.

``table`` answers it, ``terms`` is a restriction as the table keeps it, ``limiter`` counts, ``wording`` speaks.
"""
