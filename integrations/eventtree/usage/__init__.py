"""Tokens of one event: the provider's JSON → `Usage`. Pure; only `collect` runs on the app's thread."""
