"""Lines that speak of the same are joined: of a message, a session, or a failure that two programs tell."""
