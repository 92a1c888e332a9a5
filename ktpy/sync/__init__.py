"""Keeps a folder of the laptop and one of a container alike, over two streams. docs/sync.md says how it behaves."""
