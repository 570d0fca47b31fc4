"""The HTTP surface, one module a part of it: a route decodes, calls the router, encodes."""
