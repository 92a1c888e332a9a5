"""The network of one program: a TUN in namespaces of its own, and a way out of them for all that it sends."""
