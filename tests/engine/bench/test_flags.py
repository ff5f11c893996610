from pathlib import Path

import pytest
import torch

from engine import kernels
from engine.bench import flags


def test_numbers() -> None:
    assert flags.numbers("1,2,16") == (1, 2, 16)
    with pytest.raises(ValueError, match=r"--slots: expected 1,2,4 or so, got '1;2'"):
        flags.numbers("1;2")
    with pytest.raises(ValueError, match=r"expected 1,2,4 or so, or auto, got ''"):
        flags.numbers("", ", or auto")


@pytest.mark.parametrize("is_fused", [True, False])
def test_a_setting_tells_what_is_on_in_one_order(
    is_fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "is_fused_on", lambda _: is_fused)
    found = flags.switched_on(torch.device("cpu"), recomputing=True, captured=True, compiled=True)
    assert found == ["compiled", "captured", *["kernels"] * is_fused, "recomputing"]
    assert flags.switched_on(torch.device("cpu"), captured=False) == ["kernels"] * is_fused


def test_flags_that_commands_share(capsys: pytest.CaptureFixture[str]) -> None:
    parser = flags.parser("tried")
    flags.add_switches(parser)
    given = parser.parse_args(["--out", "there", "--launched"])
    assert (given.out, given.commit, given.launched, given.eager) == (
        Path("there"),
        None,
        True,
        False,
    )
    plain = flags.parser("tried")
    flags.add_switches(plain, compiles=False)
    with pytest.raises(SystemExit, match="2"):
        plain.parse_args(["--out", "there", "--eager"])
    assert "python -m engine.bench tried: error:" in capsys.readouterr().err
