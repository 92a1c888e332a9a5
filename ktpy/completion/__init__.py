"""Tab completion. It answers without click and without the commands: by a grammar of theirs that it keeps in a file."""
