"""What several sessions share in the cluster, who of them is alive, and who goes last."""
