"""The API server as any program reaches it: kubeconfig, credentials, requests, watches, port-forwards, refusals."""
