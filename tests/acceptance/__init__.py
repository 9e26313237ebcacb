"""Venue acceptance: what every venue must do for us, as cards that run against any venue, simulated or real."""
