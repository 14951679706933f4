"""The agent on a mail server.

``reader`` and ``snapshot`` fill the table, ``policy_server`` and ``http_policy`` answer from it, ``agent`` owns all.
"""
