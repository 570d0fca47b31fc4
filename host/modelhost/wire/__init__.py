"""How the host and a worker talk: frames over a socket, and calls multiplexed over frames."""
