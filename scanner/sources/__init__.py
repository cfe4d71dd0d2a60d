"""Where pictures come from; each source lists items and reads one by its key."""
