"""Analytical stores: ``clickhouse`` (a server), ``chdb_store`` (a folder), ``opening`` (either, by its name)."""
