"""What the backend does: one verb a module, on the domain and on ports."""
