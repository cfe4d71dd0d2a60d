"""The feeds of peers: pulled, verified, applied."""
