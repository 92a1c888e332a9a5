"""The agent in ktpy's pods: supervises sshd, and in a gateway HAProxy, and keeps in step what they read."""

__version__ = "0.1.0"
