"""What other rules would have done, and which limits fit: backtests and suggestions, on the same flow."""
