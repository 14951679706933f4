"""What other rules would have done, and which limits fit: backtests and suggestions, on the same flow.

``plan`` says what is counted, in which portions; ``backtest`` counts them; ``comparison`` puts two rule sets side by
side, with ``effects``, ``cases`` and ``wording``; ``maxima`` and ``suggest`` find limits.
"""
