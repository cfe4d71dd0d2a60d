"""The demo: two instances on loopback, real pictures, and what reuse saves."""
