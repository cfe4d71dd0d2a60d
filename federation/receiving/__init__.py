"""The inbox and its queue."""
