"""What both sides of a synchronized folder share: its index, git's ignore rules, the frames, and safe access to files.

Paths are bytes relative to the folder, with "/" between components; b"" is the folder itself.
"""
