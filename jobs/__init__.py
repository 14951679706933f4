"""The jobs of the cluster: wiring only."""
