"""The node's HTTP: status, metrics and studies for hosts on the same machine."""
