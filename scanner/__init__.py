"""Judges an image: decoding, fingerprints, classifiers, sources of images.

Knows no database and no HTTP server. Bytes go in, a `Picture` with its `Fingerprint` and
scores come out; what they mean is decided elsewhere. torch is imported in `clip.py` alone.
"""
