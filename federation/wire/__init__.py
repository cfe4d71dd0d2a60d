"""What stands on the wire: activities, pages, attestations, proofs; pure, no I/O."""
