"""Search for methods and settings on a validation split, by successive halving."""
