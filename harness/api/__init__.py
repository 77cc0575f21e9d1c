"""What ``import harness`` gives in a script or a notebook: the verbs as functions, and finished runs as objects."""
