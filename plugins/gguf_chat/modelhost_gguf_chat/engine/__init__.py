"""Many answers in one llama.cpp context: what the next batch holds, who has which cells, and the thread that computes."""
