"""The type checker for the engine's annotations at run time."""

from beartype import BeartypeConf, beartype

# As for static checkers, an int serves where a float is wanted.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
