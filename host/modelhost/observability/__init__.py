"""What is seen of the host from outside: log, metrics, and the record of every call."""
