"""What leaves this instance: whom it may ask, and what is delivered."""
