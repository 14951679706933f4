"""Sliding counts of one subject.

``peers`` and ``origins`` write who did it in bytes, ``layout`` draws what is kept, ``state`` counts, ``view`` is what
rules may ask, ``metrics`` what limits can be about.
"""
