"""Data on their way into the page, as scripts.

Prompts are hostile until proven otherwise. A script is ASCII, so that no server's charset matters
and U+2028 ends no line; `<` and `>` are escaped, so that `</script>` and `<!--` mean nothing even
where somebody puts the text into a page. Tables travel as arrays in the order of their columns: a
column may be called `__proto__`.
"""

import hashlib
import json

_HANDLER = "dreambatch.receive"
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def script(kind: str, *arguments: object) -> bytes:
    """A call of the page's `receive` with JSON values. ValueError for NaN and infinities."""
    texts = [_json(argument) for argument in (kind, *arguments)]
    return f"{_HANDLER}({','.join(texts)});\n".encode("ascii")


def digest(data: bytes) -> str:
    """A short name for bytes: 16 hex digits of their sha256."""
    return hashlib.sha256(data).hexdigest()[:16]


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text
