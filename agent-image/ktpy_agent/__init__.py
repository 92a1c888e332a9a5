"""The agent in ktpy's pods: supervises sshd, and in a gateway HAProxy, and keeps in step what they read."""
