"""Where pictures come from; each source lists items, reads and deletes them, and watches.

Clients of hosts that the admin configured live here and are imported when they are needed.
"""
