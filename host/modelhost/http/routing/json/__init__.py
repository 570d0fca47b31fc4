"""JSON as clients send it: its text, its fields at every depth, and the names that other servers have for them."""
