"""`dreambatch dashboards`, as its user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline import cli, exit_codes
from pipeline.dashboards import render
from tests.pipeline.dashboards.fake_prometheus import serving

FILES = ["job.json", "gpus.json", "store.json", "quality.json"]


def test_render_tells_which_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["dashboards"]) == exit_codes.COMPLETE
    assert capsys.readouterr().out.split() == FILES
    assert list(tmp_path.iterdir()) == []


def test_render_writes_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = tmp_path / "some" / "where"
    assert cli.main(["dashboards", "render", "--to", str(directory)]) == exit_codes.COMPLETE
    assert capsys.readouterr().out.split() == [str(directory / name) for name in FILES]
    for name, board in render.dashboards().items():
        assert json.loads((directory / f"{name}.json").read_text()) == board


def test_preview_draws_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with serving() as fake:
        command = ["dashboards", "preview", "--prometheus", fake.url, "--to", str(tmp_path)]
        command += ["--window", "2m", "--price", "2.5", "--run", "20260101T000000-old"]
        assert cli.main([*command, "--hours", "2"]) == exit_codes.COMPLETE
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert [path.name for path in written] == ["job.png", "gpus.png", "store.png", "quality.png"]
    for path in written:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width == 24 * 66
        assert path.stat().st_size < 400_000, "it may lie in a repository"
    queries = [said["query"] for said in fake.asked]
    assert any('instance="a:1"' in query and "[2m]" in query for query in queries)
    assert any(query.endswith("/ 3600 * 2.5") for query in queries)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--to", "x"], "expected --prometheus"),
        (["--prometheus", "http://h"], "expected --to"),
        (["--prometheus", "h", "--to", "x"], "--prometheus 'h': expected such as http"),
        (
            ["--prometheus", "http://h", "--to", "x", "--hours", "0"],
            "--hours: expected more than 0",
        ),
        (["--prometheus", "http://h", "--to", "x", "--price", "nan"], "--price"),
        (
            ["--prometheus", "http://h", "--to", "x", "--scrape-seconds", "-1"],
            "--scrape-seconds: expected more than 0, got -1",
        ),
        (["--prometheus", "http://h", "--to", "x", "--window", "15"], "--window: expected such as"),
    ],
)
def test_a_mistake_is_one_line(
    flags: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["dashboards", "preview", *flags]) == exit_codes.USER
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1


def test_a_run_that_prometheus_does_not_know(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with serving() as fake:
        command = ["dashboards", "preview", "--prometheus", fake.url, "--to", str(tmp_path)]
        assert cli.main([*command, "--run", "nobody"]) == exit_codes.USER
    assert 'Prometheus has no dreambatch_run_info{run_id="nobody"}' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["dashboards", "render", "--to", str(tmp_path / "file")]) == exit_codes.USER
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_without_matplotlib_one_line_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(sys.modules):
        if name.startswith("pipeline.dashboards.preview"):
            monkeypatch.delitem(sys.modules, name)
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    command = ["dashboards", "preview", "--prometheus", "http://h", "--to", str(tmp_path)]
    assert cli.main(command) == exit_codes.USER
    said = capsys.readouterr().err
    assert "pip install 'dreambatch[preview]'" in said
    assert said.count("\n") == 1


def test_the_command_line_is_light() -> None:
    code = (
        "import sys, pipeline.cli, pipeline.dashboards.render; "
        "sys.exit(bool({'matplotlib', 'ray', 'torch', 'pandas'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
