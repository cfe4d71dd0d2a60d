"""Actors, ours and those of peers, and how they are found."""
