"""What all configurations share. Conventions as in `engine.recipe`."""

Span = tuple[float, float]
"""(low, high) of a uniform draw, or (first, last) of what is annealed."""


def check(condition: bool, owner: object, what: str) -> None:
    """Raises ValueError, naming what was expected of which configuration, unless the condition."""
    if not condition:
        raise ValueError(f"{type(owner).__name__}: expected {what}; got {owner}")
