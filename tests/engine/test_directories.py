import os
from argparse import ArgumentParser
from pathlib import Path

import pytest

from engine.directories import to_write


def parser() -> ArgumentParser:
    found = ArgumentParser(prog="measure")
    found.add_argument("--out", type=to_write)
    return found


def test_a_directory_that_can_be_made_is_not_made_yet(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "b"
    assert parser().parse_args(["--out", str(wanted)]).out == wanted
    assert not list(tmp_path.iterdir())
    assert to_write(str(tmp_path)) == tmp_path
    assert to_write("a/b") == Path("a/b")


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_file_in_the_way_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["--out", str(tmp_path / name)])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "argument --out: expected a directory to write into, got" in said
    assert said.endswith(f"{tmp_path / 'file'} is a file")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_directory_that_is_closed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not by its mode, which root does not heed.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["--out", str(tmp_path / "new")])
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"{tmp_path} cannot be written")
