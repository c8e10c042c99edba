"""The provider families, one a file: where each is called, how it is authorised, the facts about its models."""
