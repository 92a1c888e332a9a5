"""Ports of the laptop's loopback, each of which leads to one port of the cluster."""
