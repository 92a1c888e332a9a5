"""Cluster names on the laptop: the zone (pure), the server, and the forwarders behind it."""
