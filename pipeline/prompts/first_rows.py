"""Which row of a table was the first to have a key: a hash table of some 35 bytes a key, where a
dictionary takes 130. Three of them stand in memory while a million rows are planned."""

from array import array

KEY_BYTES = 16
"""Keys are so many bytes of a hash, so that their bits are spread evenly."""

_FIRST_SLOTS = 1 << 16
_MOST_FULL = 0.6


class FirstRows:
    """Keys and the row that claimed each.

    Entry e has the bytes [16 e, 16 e + 16) of `_keys` and the row `_rows[e]`. `_slots` is a table
    with linear probing: e + 1, or 0 where a slot is free.
    """

    def __init__(self) -> None:
        self._keys = bytearray()
        self._rows = array("q")
        self._slots = _free(_FIRST_SLOTS)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: bytes) -> int | None:
        """The row that has the key, None if it is free."""
        entry = self._slots[self._find(key)]
        return self._rows[entry - 1] if entry else None

    def claim(self, key: bytes, row: int) -> int | None:
        """None if the key was free and is now this row's; else the row that has it."""
        slot = self._find(key)
        entry = self._slots[slot]
        if entry:
            return self._rows[entry - 1]
        assert len(key) == KEY_BYTES, key
        self._keys += key
        self._rows.append(row)
        self._slots[slot] = len(self._rows)
        if len(self._rows) > _MOST_FULL * len(self._slots):
            self._grow()
        return None

    def _find(self, key: bytes) -> int:
        """The slot of the key, or the free one where it would be."""
        keys, slots = self._keys, self._slots
        last = len(slots) - 1
        slot = int.from_bytes(key[:8], "little") & last
        while (entry := slots[slot]) and keys[KEY_BYTES * (entry - 1) : KEY_BYTES * entry] != key:
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        self._slots = _free(4 * len(self._slots))
        for entry in range(len(self._rows)):
            key = bytes(self._keys[KEY_BYTES * entry : KEY_BYTES * (entry + 1)])
            self._slots[self._find(key)] = entry + 1


def _free(num_slots: int) -> array:
    return array("I", bytes(4 * num_slots))
