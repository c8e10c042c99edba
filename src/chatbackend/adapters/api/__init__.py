"""Our own wire shapes and their translation to and from the domain."""
