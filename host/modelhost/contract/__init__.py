"""What the host and its backends agree on: hooks, requests and events, cards, errors. Nothing in here knows the host."""
