"""The commands: parse, call a session, render. One module per verb."""
