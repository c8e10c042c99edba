"""The two dialects of the protocol, beta and GA, made into one another."""
