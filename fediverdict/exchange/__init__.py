"""Reads and writes files of verdicts and hash lists, ours and those of other tools."""
