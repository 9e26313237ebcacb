"""Merkle roots as RFC 9162 defines them, grown one leaf at a time in memory logarithmic in their number."""

from __future__ import annotations

import hashlib


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees on the left: all that the root of a longer log depends on."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []
        """Largest first; one for each bit that is set in ``size``."""

    def append(self, data: bytes) -> None:
        """Add one leaf."""
        node, size = leaf_hash(data), self.size
        while size & 1:
            node = node_hash(self._subtrees.pop(), node)
            size >>= 1
        self._subtrees.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves; of none it is the hash of nothing."""
        if not self._subtrees:
            return hashlib.sha256(b"").digest()
        root = self._subtrees[-1]
        for subtree in reversed(self._subtrees[:-1]):
            root = node_hash(subtree, root)
        return root
