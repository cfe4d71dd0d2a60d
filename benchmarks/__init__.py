"""Reproducible measurements beside a peer in one run, with their results."""
