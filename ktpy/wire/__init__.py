"""What the laptop and the agent in the pod share. Both import it; it imports nothing of ktpy.

It uses only those parts of the standard library that Debian's python3-minimal ships, and NamedTuples, since a dataclass
would take the agent 7 ms to import.
"""
