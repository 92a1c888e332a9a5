"""The agent in ktpy's pod: supervises sshd, keeps its authorized keys, and ends when nobody needs it."""

__version__ = "0.1.0"
