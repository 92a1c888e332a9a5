"""What a session tells about itself: one family of frozen events, and counters."""
