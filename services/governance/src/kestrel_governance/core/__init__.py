"""Pure: intents, facts, people's requests and the time come in; effects come out. No I/O, clock or chance."""
