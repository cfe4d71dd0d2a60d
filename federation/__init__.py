"""Talks ActivityPub: actors, signatures, feeds, delivery, peers' documents."""
