"""Backtests and suggestions in worker processes.

``reading`` puts tallies on disk (``spool``), ``backtest`` and ``suggest`` have them counted, ``report`` is the page.
"""
