"""Our own feeds: rows sealed into signed pages."""
