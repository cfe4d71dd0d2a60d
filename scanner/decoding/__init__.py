"""Bytes to fingerprints and views, in processes that hostile pictures may crash."""
