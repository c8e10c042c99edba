"""Embedders: implementations of `usecases.file_ports.Embedder`, and the exact scan over their vectors."""
