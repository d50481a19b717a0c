"""A run opens, gets notes, closes: each is one line in the journal before the callback returns."""
