"""Sessions passed on to a provider that has the Realtime API: the core, and what it acts upon."""
