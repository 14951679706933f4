"""Faults by chance on a real cluster, and what is right when they are over: ``make faults``.

``campaign`` brings them about, ``verdict`` says what came of it, ``__main__`` adds rounds up and keeps the table.
"""
