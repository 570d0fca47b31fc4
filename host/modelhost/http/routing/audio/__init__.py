"""What routes that hear or speak share, whichever dialect they are of."""
