"""Who may ask: API keys, and how they change while the host runs."""
