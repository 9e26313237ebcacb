"""What every service stands on: bus, telemetry, identity, settings, supervision."""
