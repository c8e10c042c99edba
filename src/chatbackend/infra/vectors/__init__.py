"""Passage indexes: postings and vectors, searched inside one tenant."""
