"""What keeps one code or one peer from doing too much: allow-list, breakers."""
