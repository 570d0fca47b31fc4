"""Routes of our own, and those of the older services that this host replaces."""
