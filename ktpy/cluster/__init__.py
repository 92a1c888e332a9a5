"""What ktpy does in Kubernetes: the pods, Services and Leases it makes, shares and gives back."""
