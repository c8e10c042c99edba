"""Models behind HTTP and in this process."""
