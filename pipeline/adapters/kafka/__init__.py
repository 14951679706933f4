"""Kafka, through kafka-python.

``client`` connects and reads, ``outbox`` writes, ``follow`` is a stateless job, ``tables`` keeps what a compacted topic
says, ``topics`` makes them, ``decisions`` is what operators do, ``memory`` is the same without a broker;
``headers`` reads records whose headers others could not.
"""
