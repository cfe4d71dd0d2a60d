"""What makes the files that the program ships; never installed, never imported by it."""
