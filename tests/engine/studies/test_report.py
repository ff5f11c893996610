from engine.studies import report


def test_markdown() -> None:
    rows = [{"": "a", "n": "1"}, {"": "b", "n": "2"}]
    assert report.markdown(rows) == "|  | n |\n| --- | ---: |\n| a | 1 |\n| b | 2 |\n"
