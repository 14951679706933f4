"""Speed and memory, measured on this machine: ``python -m bench`` (or ``make bench``)."""
