"""The port-forward of the API server: a byte stream to a port of a pod, and the protocols under it."""
