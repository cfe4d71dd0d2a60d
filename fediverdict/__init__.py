"""The executable: joins federation, scanner and cache; nothing imports it."""
