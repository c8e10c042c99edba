"""How the outside spells it: pure translation between wire shapes and the domain, without waiting."""
