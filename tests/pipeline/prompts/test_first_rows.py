import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts import first_rows
from pipeline.prompts.first_rows import FirstRows

# Few first bytes and few last ones, so that many keys want the same slot and differ only later.
KEYS = st.builds(
    lambda first, last: bytes([first]) + bytes(14) + bytes([last]),
    st.integers(0, 3),
    st.integers(0, 255),
)


@given(claims=st.lists(st.tuples(KEYS, st.integers(0, 2**62)), max_size=60))
@settings(deadline=None)
def test_the_first_to_claim_a_key_has_it(claims: list[tuple[bytes, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_rows, "_FIRST_SLOTS", 4)
        table = FirstRows()
    rows: dict[bytes, int] = {}
    for key, row in claims:
        assert table.get(key) == rows.get(key)
        assert table.claim(key, row) == rows.get(key)
        rows.setdefault(key, row)
        assert table.get(key) == rows[key]
    assert len(table) == len(rows)
    assert len(table._slots) >= 4
    assert {key: table.get(key) for key in rows} == rows


def test_a_table_grows_and_keeps_all() -> None:
    keys = [hashlib.sha256(b"%d" % k).digest()[:16] for k in range(50_000)]
    table = FirstRows()
    before = len(table._slots)
    assert all(table.claim(key, row) is None for row, key in enumerate(keys))
    assert len(table._slots) > before
    assert [table.claim(key, -1) for key in keys] == list(range(50_000))
