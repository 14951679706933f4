"""The agent on a mail server.

``agent`` owns the table and what it is answered from, ``reader`` and ``snapshot`` fill it; ``serving`` listens for each
hook by the server of its kind, ``line_server`` or ``http_server``.
"""
