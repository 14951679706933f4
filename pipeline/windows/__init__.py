"""Sliding counts of one subject.

``state`` keeps them, ``view`` is what rules may ask, ``peers`` how the other side of a count is written.
"""
