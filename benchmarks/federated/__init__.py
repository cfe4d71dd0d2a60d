"""The simulated federation: instances, pictures that spread among them, and what they reuse."""
