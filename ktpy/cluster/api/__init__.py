"""The API server: kubeconfig, credentials, connections, requests and watches, and what its refusals mean."""
