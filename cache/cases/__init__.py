"""Cases: pictures that await or hold a person's decision, and what brings them there."""
