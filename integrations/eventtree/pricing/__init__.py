"""Money of one event: `Usage` → `Cost`, as given, as the provider stated, by table, by function, by genai-prices."""
