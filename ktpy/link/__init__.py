"""The SSH connection to the agent in a pod, and the channels that ride on it."""
