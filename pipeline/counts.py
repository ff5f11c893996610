"""Numbers and what they count, in words."""


def counted(number: int, what: str) -> str:
    """`1 asset`, `1,000 assets`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
