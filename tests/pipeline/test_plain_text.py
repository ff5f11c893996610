import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipeline.plain_text import printable


def test_escape_sequences_and_turned_text_are_taken_apart() -> None:
    assert printable("\x1b[31mred\x07\r\x00") == "\ufffd[31mred\ufffd\ufffd\ufffd"
    assert printable("a \u202eb\u2066c \u2028d \x9b2J") == "a \ufffdb\ufffdc \ufffdd \ufffd2J"
    assert printable("half \ud83d") == "half \ufffd"


def test_what_people_write_stays() -> None:
    for text in ("a ball", "кот", "قطة", "猫", "👩‍🚀", "می‌خواهم", "<b>&amp;</b>", "two\nlines", ""):
        assert printable(text) == text


@given(st.text())
def test_only_letters_signs_and_line_ends_come_out(text: str) -> None:
    found = printable(text)
    assert len(found) == len(text)
    left = {c for c in found if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert left <= {"\n", "\u200c", "\u200d"}
    assert all(new in (old, "\ufffd") for new, old in zip(found, text, strict=True))
    found.encode()
