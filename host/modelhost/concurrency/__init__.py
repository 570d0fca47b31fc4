"""Between threads and event loops: timers, daemon threads, and bridges from one to the other."""
