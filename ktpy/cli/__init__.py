"""Each module is one command: it parses, calls a session and renders."""
