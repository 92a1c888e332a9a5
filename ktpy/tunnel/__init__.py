"""From the laptop into the cluster: the SSH connection, and the flows that ride on it."""
