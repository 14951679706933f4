"""How a line is read: what stands around a program's own text, what a format says, and which format has a line.

``stamps``, ``fields``, ``proxies`` and ``format`` are what format modules are made of; ``headers``, ``envelopes``
and ``around`` take off what syslog, shippers and other tools put around a line; ``routes``, ``lines``, ``programs`` and
``topic`` ask ``FORMATS``.
"""
