"""What is done with packets that a session has shown: files for Wireshark, and lines to read."""
