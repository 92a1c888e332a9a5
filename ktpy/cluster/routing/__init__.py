"""Which addresses belong to the cluster, at first and as it grows."""
