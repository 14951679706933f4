"""A broker and a whole cluster on this machine, for the demo."""
