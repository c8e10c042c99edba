"""Provider codecs: our vocabulary to a provider's requests, its answers to our vocabulary."""
