"""What every request passes on its way to its route, outermost first: gateway, origins, access, access log, traces."""
