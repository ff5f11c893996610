"""The manifests of `k8s/` with a user's own values; free of ray, kubectl and the network."""
