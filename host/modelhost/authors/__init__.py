"""What plugins may use beside the contract: languages, sentences, stop strings, taking turns, asking other servers."""
