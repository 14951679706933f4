"""What stands around a line beside its own header: wrappings of other tools, batches of many records, and beginnings
that nobody knows.
"""
