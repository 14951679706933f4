"""Lines on their way to the topics.

``tail`` follows a file, with ``rotated`` to find what was moved away; ``pipe`` and ``journal`` read what comes once;
``source`` cuts lines. ``feed`` and ``positions`` remember how far each came, ``shipper`` and ``frames`` send them.
"""
