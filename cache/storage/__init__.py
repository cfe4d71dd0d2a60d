"""The database: how it is opened, read and written, its tables, and what is pruned."""
