"""Programs that load something, on the laptop or the node. Standard library only; they print their results as JSON."""
