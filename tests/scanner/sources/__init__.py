"""The sources of pictures, against real folders, stores and servers."""
