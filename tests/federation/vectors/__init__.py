"""Two signed pages with their keys, canonical bytes and digests, for other implementations."""
