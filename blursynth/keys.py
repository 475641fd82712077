"""Numbers that follow from text alone: what random draws are keyed by.

A hash instead of NumPy's generator, whose streams may change between versions.
"""

import hashlib

__all__ = ["hashed"]


def hashed(text: str) -> int:
    """Return 64 bits of the SHA-256 of a text."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")
