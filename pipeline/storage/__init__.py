"""From messages to rows of the analytical store: pure functions; the engines are in ``adapters``."""
