"""Everything that touches the world: the only importers of client libraries."""
