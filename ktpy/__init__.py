"""ktpy makes a developer's laptop part of a Kubernetes cluster, both ways."""

__version__ = "0.1.0"
