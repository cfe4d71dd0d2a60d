"""What of our verdicts enters which feed."""
