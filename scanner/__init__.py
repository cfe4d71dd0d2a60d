"""Judges an image: decoding, fingerprints, classifiers, sources of images.

Knows no database and no HTTP server. Bytes go in, fingerprints, pixels and scores come out; what
they mean is decided elsewhere. `formats` reads what the bytes of a file say, `decoding` makes
fingerprints and views of them in processes of their own, `classifiers` score pixels (torch is
imported in three files there), `sources` list and read pictures.
"""
