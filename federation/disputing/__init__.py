"""Disputes in both directions: how attestations are named, sent, and listed."""
