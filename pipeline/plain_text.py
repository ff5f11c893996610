"""Text of users on its way to a terminal, which obeys some characters instead of showing them."""

import unicodedata

_JOINERS = {"\u200c", "\u200d"}
"""Invisible, and harmless: writing systems and emoji need them."""
_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control characters, marks that turn the direction of text, half characters, line separators."""


def printable(text: str) -> str:
    """The text with U+FFFD for every character that would steer a terminal; line ends stay."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if _is_obeyed(character) else character for character in text)


def _is_obeyed(character: str) -> bool:
    if character == "\n" or character in _JOINERS:
        return False
    return unicodedata.category(character) in _OBEYED
