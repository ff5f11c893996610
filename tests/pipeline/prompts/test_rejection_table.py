from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts.rejection_table import RejectionTable
from pipeline.records import Rejection

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
REJECTIONS = st.builds(
    Rejection,
    row=st.integers(0, 2**40),
    prompt_id=st.none() | TEXT,
    prompt=st.none() | TEXT,
    reason=TEXT,
)


@given(rejections=st.lists(REJECTIONS))
@settings(deadline=None)
def test_rejections_come_back_as_they_were(rejections: list[Rejection]) -> None:
    table = RejectionTable(rejections)
    assert len(table) == len(rejections)
    assert list(table) == list(table) == rejections
    assert bool(table) == bool(rejections)
