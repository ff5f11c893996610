"""A minute of the randomised run; `make chaos` is twenty."""

import json
from pathlib import Path

import pytest

from tests.faults import chaos


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_minute_of_chaos(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "chaos.json"
    code = chaos.main(["--minutes", "1", "--seed", "7", "--kinds", "local", "--out", str(out)])
    said = capfd.readouterr().out
    assert code == 0, said
    assert "seed 7" in said
    record = json.loads(out.read_text())
    (only,) = record["rounds"]
    assert sum(only["accidents"].values()) >= 5
    assert only["num_committed"] > 20
    assert only["error"] == ""
