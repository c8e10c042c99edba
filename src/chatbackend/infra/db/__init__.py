"""The truth: tables, migrations and the transactions over them."""
