"""What is remembered: pictures, verdicts of many issuers, runs, lists; and how it is looked up."""
