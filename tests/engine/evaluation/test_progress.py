import pytest

from engine.evaluation import progress
from engine.evaluation.progress import Progress


def test_a_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    told = Progress("base", 12)
    for _ in range(12):
        now[0] += 12.0
        told.stepped()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [f"base: step {k} of 12" for k in (3, 6, 9, 12)]
