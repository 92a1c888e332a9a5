"""The pods of ktpy's agent: their manifests, how far they have come, what they print."""
