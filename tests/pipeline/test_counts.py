from pipeline.counts import counted


def test_one_is_singular_and_thousands_are_told_apart() -> None:
    said = [counted(number, "asset") for number in (0, 1, 2, 1000)]
    assert said == ["0 assets", "1 asset", "2 assets", "1,000 assets"]
