"""The use cases as state machines, their progress events, the control socket and the background daemon."""
