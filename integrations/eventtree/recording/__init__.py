"""Recording: a run opens, is noted, closes; each is one line in the journal before the callback returns."""
