"""Drives one call from its first attempt to its verdict, over whatever transport it is given."""
