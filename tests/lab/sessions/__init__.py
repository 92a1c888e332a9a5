"""What a test does with ktpy on a lab, and what a benchmark does, too: its commands, a local server, clients."""
