"""What the documents say is so: reasons, commands, links and tests they name exist."""
