"""Everything ktpy says to the Kubernetes API. Nothing above this package imports the kubernetes library."""
