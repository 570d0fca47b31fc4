"""Runs the application: where it listens, and what every connection may do before the application sees a request."""
