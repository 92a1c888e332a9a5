"""The use cases: connect, intercept, and the commands that do one thing and end."""
