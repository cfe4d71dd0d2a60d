"""What is wrong with a peer, or with ourselves seen from outside, and what to do about it."""
