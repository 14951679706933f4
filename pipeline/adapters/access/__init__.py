"""Who may do what: ``rights`` of each job on a cluster, and ``secrets`` in files."""
