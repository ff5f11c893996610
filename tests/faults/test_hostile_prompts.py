"""Prompts are data: a whole run over hostile ones, and a look at everything that it left behind."""

import io
import re
import unicodedata
import urllib.error
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from pipeline.cli import main
from pipeline.run.progress import BarDisplay, Snapshot
from tests.clusters import free_ports
from tests.faults.conftest import MakeScene

ESCAPES = "\x1b[31mred\x1b[0m \x1b]0;owned\x07 \x9b2J \x08\x08 \r over"
HOSTILE = [
    "../../../../../../tmp/canary",
    "..\\..\\canary",
    "/etc/passwd",
    "shard=x00/../../canary.parquet",
    "a; touch canary; #",
    "$(touch canary) `touch canary` | touch canary && touch canary",
    "-rf --output / --help",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    '"\' onload=alert(1) x="',
    "two\nlines\r\nand a\ttab",
    ESCAPES,
    f"diverge {ESCAPES}",
    f"no export {ESCAPES}",
    "null\x00byte",
    "\u202eturned\u2066 round\u2069 \u2028 and \u2029 on",
    "👩\u200d🚀 ﷽ 猫 e\u0301 \ufeff \U000e0041",
    "{{7*7}} {0} {prompt} ${HOME} %s %d %n %(x)s",
    "'; DROP TABLE assets; --",
    "[bold red]markup[/] [link=file:///etc/passwd]x[/link]",
    'dreambatch_assets_total{status="x"} 7\n# TYPE x counter',
    "x" * 4096,
    "NUL CON aux.json \x7f",
]
TOO_LONG = "y" * 5000
NAME = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")
LABEL = re.compile(r"[A-Za-z0-9_.+-]*")
STEERS = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def steering(text: str) -> set[str]:
    """Characters that a terminal obeys."""
    return {c for c in text if unicodedata.category(c) in STEERS} - {"\n", "\u200d"}


def scrape(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""


def test_they_reach_no_name_no_label_no_shell_and_no_terminal(
    scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = scene("local", *HOSTILE, TOO_LONG)
    ids = [f"{prompt[:100]} id" for prompt in [*HOSTILE, TOO_LONG, ""]]
    manifest = pq.read_table(play.manifest)
    pq.write_table(
        manifest.append_column("prompt_id", pa.array(ids))
        .append_column("negative_prompt", pa.array(ids))
        .append_column("tag", pa.array(ids)),
        play.manifest,
    )
    (port,) = free_ports(1)
    scraped = ""
    with play.driver("--slots", 8, metrics_port=port) as driver:
        while driver.process.poll() is None:
            scraped = scrape(f"http://127.0.0.1:{port}/metrics") or scraped
        assert driver.wait() == 3, driver.said
    verdict = play.conclude()
    assert len(verdict.quarantined) == 2
    assert verdict.rejected == [len(HOSTILE), len(HOSTILE) + 1]

    assert "Traceback" not in driver.said
    assert steering(driver.log.read_bytes().decode()) == set()
    for name in play.place.objects():
        assert NAME.fullmatch(name), name
    left = {path.name for path in play.directory.iterdir()}
    assert {name for name in left if not name.startswith("driver-")} == {
        "notes",
        "manifest.parquet",
    }
    assert not list(tmp_path.rglob("canary*"))
    assert not Path("/tmp/canary").exists()
    assert not Path("canary").exists()

    samples = [x for f in text_string_to_metric_families(scraped) for x in f.samples]
    assert any(x.name == "dreambatch_assets_total" for x in samples)
    for sample in samples:
        assert all(map(LABEL.fullmatch, sample.labels.values())), sample


@pytest.mark.parametrize("command", ["validate", "status", "retry"])
def test_other_commands_say_them_as_plainly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    manifest = tmp_path / "m\x1b[31m.parquet"
    rows = {"prompt": ["a ball", "a ball", ""], "prompt_id": ["1", ESCAPES, ESCAPES]}
    rows["recipe"] = ["smoke", "smoke", ESCAPES]
    pq.write_table(pa.table(rows), manifest)
    where = {"validate": ["--manifest", str(manifest)]}
    main([command, *where.get(command, ["--output", str(tmp_path / ESCAPES)])])
    said = capsys.readouterr()
    assert said.out + said.err
    assert steering(said.out + said.err) == set()


def test_a_terminal_shows_them_and_does_not_obey() -> None:
    """The display's own sequences, of colours and of the cursor, are all that comes through."""
    stream = io.StringIO()
    display = BarDisplay(Console(file=stream, force_terminal=True, width=200))
    display.say(f"quarantined {ESCAPES}")
    display.update(Snapshot(total=2, fractions={"a": 0.5}, prompts={"a": ESCAPES}))
    display.close()
    shown = stream.getvalue()
    assert "owned" in shown
    assert "\x1b[31mred" not in shown
    assert not {"\x07", "\x9b", "\x08"} & set(shown)
    assert "\x1b]" not in shown
