"""`scripts/bench sync`: a synchronized folder, over a real sshd on loopback; it needs no lab."""
