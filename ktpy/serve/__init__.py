"""The ways in which traffic of the cluster gets out to ports of this laptop."""
