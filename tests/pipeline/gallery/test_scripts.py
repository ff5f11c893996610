import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gallery.scripts import digest, script
from tests.pipeline.gallery.samples import HOSTILE, calls

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES.filter(lambda x: "inf" not in repr(x)))
def test_values_arrive_as_they_were(value: object) -> None:
    ((kind, arrived),) = calls(script("rows", value))
    assert (kind, arrived) == ("rows", value)


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800 alone"])
def test_a_script_is_one_line_of_ascii_that_no_page_takes_for_markup(text: str) -> None:
    data = script("rows", [text], {text: text})
    line = data.decode("ascii")
    assert line.count("\n") == 1
    assert line.endswith(");\n")
    assert not set("<>&\0") & set(line)
    ((_, values, named),) = calls(data)
    assert values == [text]
    assert named == {text: text}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_has_no_word_for_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script("rows", [value])


def test_equal_bytes_have_one_name() -> None:
    assert digest(b"a") == digest(b"a") != digest(b"b")
    assert len(digest(b"a")) == 16
    assert json.loads(f'"{digest(b"a")}"').isalnum()
