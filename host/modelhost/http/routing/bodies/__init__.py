"""Bodies of requests on their way in: what is large waits on disk, and what all of them hold in memory has one bound."""
