"""A partition that a worker has: ``held`` is the work on it, ``states`` what is saved of it, ``lives`` whether its
topic still holds the records that the state has counted."""
