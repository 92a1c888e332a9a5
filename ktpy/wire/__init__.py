"""What the laptop and the agent in the pod say to each other. It uses the standard library only."""
