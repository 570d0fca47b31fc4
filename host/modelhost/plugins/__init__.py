"""The plugins and extensions that are installed: found by their metadata, and what is wrong with those that cannot be used."""
