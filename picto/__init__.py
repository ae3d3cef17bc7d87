"""The embedded world: drawn everyday things with exact masks, and small models of the real classes trained on it."""
