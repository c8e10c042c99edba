"""Document parsers, run in children with limited resources."""
