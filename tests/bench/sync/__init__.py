"""`scripts/bench sync`: a synchronized folder, over a real sshd on loopback, and for one row in a dev container."""
