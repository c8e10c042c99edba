"""Job queues: at least once, embedded or on a broker."""
