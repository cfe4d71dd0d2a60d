"""Whom this instance trusts, how peers fared where they could be compared, and what follows."""
