"""Backtests and suggestions in worker processes, and their page."""
