"""Analytical stores: ``clickhouse`` (a server), ``chdb_store`` (a folder), ``opening`` (either, by its name).

``job`` fills them from topics, ``loading`` from log files; ``analysis`` opens them for notebooks.
"""
