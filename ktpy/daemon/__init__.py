"""A session as a process: whose it is, its files and sockets, its signals, its place in the background."""
