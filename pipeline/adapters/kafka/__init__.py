"""Kafka, through kafka-python.

``cluster`` says where it is and how to get in, ``client`` reads, ``outbox`` writes, ``follow`` is a stateless job,
``tables`` keeps what a compacted topic says, ``topics`` makes them, ``decisions`` is what operators do, ``memory`` is
the same without a broker.
"""
