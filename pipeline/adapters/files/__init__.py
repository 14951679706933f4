"""Log files.

``logfile`` and ``logbytes`` read them, ``tail`` follows them, ``frames``, ``positions`` and ``shipper`` send them on.
"""
