"""Lines that speak of the same message are joined, those of webmail and MTA, too."""
