"""The network: every part of the deployed graph."""
