"""HTTP signatures and keys: who really sent a request."""
