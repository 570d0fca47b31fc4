"""Routes for whoever runs the host: models and workers, plugins, requests, health, metrics, documents."""
