"""Attackers and honest peers, simulated for `benchmarks.liars`."""
