"""Remembers and decides: tables, verdict store, near matching, trust policy."""
