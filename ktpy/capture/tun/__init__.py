"""Traffic that the kernel routes into a TUN device: the packet pump, and the relay behind its acceptor."""
