"""What routes are made of: bodies in, answers and streams out, errors, and what a route says of itself."""
