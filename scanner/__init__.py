"""Judges an image: decoding, fingerprints, classifiers, sources of images."""
