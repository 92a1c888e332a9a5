"""Exchange, mesh and preview in the cluster: from a Service to its gateway, and back to exactly that Service."""
