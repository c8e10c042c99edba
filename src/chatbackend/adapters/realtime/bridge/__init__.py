"""Realtime sessions in text for models that have no Realtime API of their own."""
