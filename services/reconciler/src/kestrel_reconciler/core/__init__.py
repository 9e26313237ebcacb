"""Pure: journal entries, truths and time in; findings, breaks and things to publish out."""
