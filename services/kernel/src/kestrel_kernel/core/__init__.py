"""The kernel service's pure part: inputs and time come in, journal entries go out."""
