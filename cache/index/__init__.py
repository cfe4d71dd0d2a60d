"""An exact Hamming index over codes of 256 bits, derived from a table of the database.

Decides how codes are found, kept in files and shared by processes; what a code stands for and
what a neighbour means is decided in `near`, `printed` and `twins`. SQL is the truth: every file
here may be deleted at any time, and is built again.
"""
