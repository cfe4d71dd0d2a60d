"""Alembic migrations of the tables in cache."""
