"""Pure: bars and journal entries and the time in, signals, intents and exits out."""
