"""Bytes that tell whether they are whole: the SHA-256 digest of a payload, then the payload.

For what may be lost and made again: a thing that was cut short or changed is as good as none.
"""

import hashlib

_SEAL_BYTES = hashlib.sha256().digest_size


def seal(payload: bytes) -> bytes:
    """The payload with its seal."""
    return hashlib.sha256(payload).digest() + payload


def unseal(data: bytes | None) -> bytes | None:
    """What was sealed; None where there is nothing, or something damaged."""
    if data is None or hashlib.sha256(data[_SEAL_BYTES:]).digest() != data[:_SEAL_BYTES]:
        return None
    return data[_SEAL_BYTES:]
