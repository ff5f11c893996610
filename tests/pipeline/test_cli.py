"""The command line: its flags, its mistakes in one line, and what it does not import."""

import io
import json
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from engine import recipes
from engine.recipe import Recipe
from pipeline.cli import main
from pipeline.dataset.lease import Lease
from tests.clusters import ROOT, driver_environment
from tests.pipeline.runs import write_hollow_weights, write_manifest
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_bytes,
    sample_run,
    sample_task,
)

HEAVY = (
    *("torch", "ray", "pandas", "diffusers", "transformers", "numpy", "gcsfs"),
    "matplotlib",
)


def help_of(*words: str) -> str:
    stream = io.StringIO()
    with redirect_stdout(stream), pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    return stream.getvalue()


def flags_of(*words: str) -> list[str]:
    return re.findall(r"^[│ ] (--[a-z-]+|-h, --help)", help_of(*words), flags=re.MULTILINE)


def test_the_flags_are_these_and_no_others() -> None:
    """A run is described by a recipe; a new flag needs a better reason than a new wish."""
    assert flags_of("run") == [
        "-h, --help",
        "--manifest",
        "--output",
        "--recipe",
        "--guidance",
        "--slots",
        "--gpus",
        "--limit",
        "--seeds-per-prompt",
        "--strict",
        "--checkpoint-minutes",
        "--hang-minutes",
        "--share",
        "--metrics-port",
    ]
    assert flags_of("status") == ["-h, --help", "--output", "--json"]
    assert flags_of("validate") == [
        "-h, --help",
        "--manifest",
        "--recipe",
        "--guidance",
        "--limit",
        "--seeds-per-prompt",
        "--strict",
    ]
    assert flags_of("evaluate") == [
        "-h, --help",
        "--output",
        "--judge",
        "--captions",
        "--report",
        "--metrics-port",
    ]
    assert flags_of("recipes") == ["-h, --help", "--json"]
    assert flags_of("benchmark") == [
        "-h, --help",
        "--recipe",
        "--out",
        "--prompts",
        "--seeds",
        "--split",
        "--judge",
        "--slots",
        "--guidance",
    ]
    assert flags_of("compact") == ["-h, --help", "--output", "--target-mb", "--partition-by"]
    assert flags_of("gallery") == ["-h, --help", "--output", "--to", "--limit"]
    assert flags_of("view") == ["-h, --help", "--output", "--asset", "--port"]
    assert flags_of("gc") == ["-h, --help", "--output", "--older-than", "--dry-run"]
    assert flags_of("export") == [
        "-h, --help",
        "--output",
        "--to",
        "--asset",
        "--all",
        "--where",
        "--as",
        "--format",
        "--shard-mb",
    ]
    assert flags_of("card") == ["-h, --help", "--output", "--licence"]
    assert flags_of("supervise") == ["-h, --help", "--attempts", "--strict"]
    assert flags_of("retry") == ["-h, --help", "--output", "--kind"]
    assert flags_of("dashboards") == [
        "-h, --help",
        "--to",
        "--prometheus",
        "--run",
        "--hours",
        "--scrape-seconds",
        "--window",
        "--price",
    ]
    assert re.findall(r"^[│ ]\W+(run|\w+)  +[A-Z]", help_of(), flags=re.MULTILINE) == [
        "run",
        "status",
        "validate",
        "recipes",
        "benchmark",
        "evaluate",
        "compact",
        "gallery",
        "view",
        "gc",
        "export",
        "card",
        "supervise",
        "retry",
        "k8s",
        "dashboards",
        "simulate",
    ]


def imports_of(*arguments: str) -> tuple[set[str], float, subprocess.CompletedProcess[str]]:
    """The heavy packages that a command has imported by its end, and its seconds."""
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print(*(n for n in {HEAVY} if n in sys.modules), "
        "sep='\\n', file=sys.stderr))\n"
        "from pipeline.cli import main\n"
        f"sys.exit(main({list(arguments)}))"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=driver_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return set(done.stderr.split()), time.monotonic() - start, done


def test_help_is_quick_and_light() -> None:
    best = 60.0
    for _ in range(5):
        found, seconds, done = imports_of("--help")
        assert (found, done.returncode) == (set(), 0)
        best = min(best, seconds)
        if best < 0.5:
            break
    assert best < 0.5


def test_light_commands_import_neither_torch_nor_ray(tmp_path: Path) -> None:
    manifest = str(write_manifest(tmp_path / "m.parquet", ["a ball"]))
    weights = str(write_hollow_weights(tmp_path / "weights"))
    output = str(tmp_path / "out")
    open_store(output).start_run(sample_run())
    for command in (
        ("validate", "--manifest", manifest, "--recipe", "smoke", "--guidance", weights),
        ("status", "--output", output),
        ("recipes",),
        ("recipes", "show", "smoke"),
    ):
        found, _, done = imports_of(*command)
        assert done.returncode == 0, done.stderr
        assert found.isdisjoint({"torch", "ray", "diffusers", "transformers", "gcsfs"}), command


@pytest.fixture
def good(tmp_path: Path) -> dict[str, str]:
    """Arguments of a run with nothing wrong."""
    return {
        "--manifest": str(write_manifest(tmp_path / "m.parquet", ["a ball"])),
        "--output": str(tmp_path / "out"),
        "--guidance": str(write_hollow_weights(tmp_path / "weights")),
        "--recipe": "smoke",
        "--metrics-port": "0",
    }


def run_wrongly(arguments: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a run that must leave with code 2 and write nothing."""
    before = sorted(Path(arguments["--manifest"]).parent.rglob("*"))
    words = [word for pair in arguments.items() for word in pair if word]
    assert main(["run", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"dreambatch: error: [^\n]+\n", said.err), said.err
    assert sorted(Path(arguments["--manifest"]).parent.rglob("*")) == before
    assert "ray" not in said.err.lower().split()
    return said.err


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--slots", "0", "--slots: expected 1 or more, got 0"),
        ("--gpus", "-2", "--gpus: expected 1 or more, got -2"),
        ("--limit", "0", "--limit: expected 1 or more, got 0"),
        ("--recipe", "primitve", "expected one of primitives, primitives_fast, primitives_cpu"),
        ("--guidance", "/nowhere", "no such directory"),
        ("--output", "memory://x", "memory://x is private to each process"),
        ("--output", "/proc/nothing", "/proc/nothing"),
        ("--output", "nonsense://x", "nonsense"),
    ],
)
def test_wrong_values(
    good: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    flag: str,
    value: str,
    message: str,
) -> None:
    assert message in run_wrongly({**good, flag: value}, capsys)


def test_wrong_manifests(
    good: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1 nothing more")
    columnless = write_manifest(tmp_path / "c.parquet", ["a ball"])
    text = tmp_path / "m.txt.gz"
    text.write_bytes(b"")
    empty = write_manifest(tmp_path / "e.parquet", [])
    for path, message in (
        (tmp_path / "absent.parquet", "absent.parquet"),
        (torn, "torn.parquet is not a Parquet file"),
        (text, "m.txt.gz"),
        (empty, "e.parquet"),
    ):
        assert message in run_wrongly({**good, "--manifest": str(path)}, capsys)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"caption": ["a ball"]}), columnless)
    assert "prompt" in run_wrongly({**good, "--manifest": str(columnless)}, capsys)


def test_strict(good: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", ["a ball", ""])
    assert "row 1 of the manifest is rejected" in run_wrongly({**good, "--strict": ""}, capsys)


def test_a_model_without_one_of_its_files(
    good: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(good["--guidance"]) / "tokenizer/tokenizer.json").unlink()
    assert "tokenizer.json" in run_wrongly(good, capsys)


def test_a_mistyped_flag_is_met_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["run", "--manifest", "m", "--output", "o", "--recpie", "smoke"])
    assert left.value.code == 2
    assert "--recipe" in capsys.readouterr().err


def test_validate(good: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(Path(good["--manifest"]), ["a ball", "", "a cube"], collection=["x", "y", "z"])
    words = ["validate", "--manifest", good["--manifest"], "--guidance", good["--guidance"]]
    assert main([*words, "--recipe", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "2 assets to make, 1 row rejected" in said
    assert "row 1: " in said
    assert "columns carried into the dataset: collection" in said
    assert main([*words, "--strict"]) == 2
    assert "row 1 of the manifest is rejected" in capsys.readouterr().err
    assert main([*words, "--recipe", "unheard"]) == 2
    assert not Path(good["--output"]).exists()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--recipe", "unheard", "unknown recipe 'unheard'"),
        ("--guidance", "/nowhere", "no such directory"),
        ("--prompts", "0", "prompts: expected 1 or more, got 0"),
        ("--judge", "/nowhere", "/nowhere holds no judge"),
        ("--out", "/proc/nothing", "/proc/nothing"),
    ],
)
def test_a_benchmark_of_nothing(
    flag: str,
    value: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if flag != "--judge":
        monkeypatch.setattr("engine.evaluation.judge.Judge.load", lambda *_: None)
    given = {"--recipe": "smoke", "--out": str(tmp_path / "out"), "--prompts": "1"}
    given["--guidance"] = str(write_hollow_weights(tmp_path / "weights"))
    words = [word for pair in {**given, flag: value}.items() for word in pair]
    assert main(["benchmark", *words]) == 2
    assert re.fullmatch(rf"dreambatch: error: [^\n]*{message}[^\n]*\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline import benchmark

    asked: list[dict[str, object]] = []

    def measure(**given: object) -> str:
        asked.append(given)
        return "the table"

    monkeypatch.setattr(benchmark, "measure", measure)
    assert main(["benchmark", "--recipe", "smoke", "--out", "o", "--split", "dev"]) == 0
    assert capsys.readouterr().out == "the table\n"
    (given,) = asked
    assert (given["recipe"], given["out"], given["split"]) == ("smoke", "o", "dev")
    assert (given["prompts"], given["seeds"], given["judge"]) == (153, 2, "j2")


def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert CARRIED.names == ["collection"]
    store = open_store(str(tmp_path / "out"))
    store.start_run(sample_run())
    store.commit(sample_task(0).asset_id, sample_bytes(sample_task(0)))
    assert main(["status", "--output", store.url]) == 0
    assert "committed    1" in capsys.readouterr().out
    assert main(["status", "--output", store.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_committed"] == 1


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--output", str(tmp_path)]) == 2
    assert re.fullmatch(r"dreambatch: error: no dataset at [^\n]+\n", capsys.readouterr().err)


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "recipes"],
        env=driver_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("primitives ")


def test_every_named_recipe_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipes.names()
    assert all(len(line.split()) > 4 for line in lines)


def test_a_recipe_is_shown_for_people_and_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "smoke"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["iterations"] == "6"
    assert shown["field.kind"] == "dense_grid"
    assert shown["camera.radius"] == "[1.8, 2.6]"
    assert main(["recipes", "show", "smoke", "--json"]) == 0
    assert Recipe.from_dict(json.loads(capsys.readouterr().out)) == recipes.get("smoke")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "expected the name of a recipe"),
        (["show", "smoky"], "did you mean 'smoke'"),
        (["show", "/nowhere/smoke.json"], "recipe /nowhere/smoke.json: No such file"),
        (["list", "smoke"], "`recipes show NAME` shows one"),
        (["--json"], "`recipes show NAME` shows one"),
    ],
)
def test_wrong_words_about_recipes(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", *words]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err


def test_a_dataset_is_packed_and_its_garbage_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path))
    tasks = [sample_task(k) for k in range(3)]
    for task in tasks:
        store.commit(task.asset_id, sample_bytes(task))
    output = ["--output", str(tmp_path)]
    assert main(["compact", *output, "--partition-by", "collection"]) == 0
    said = capsys.readouterr().out
    assert "packed 3 assets in 1 value of 'collection', 1 file (" in said
    assert "snapshot 1 holds 3 assets" in said
    assert main(["gc", *output]) == 0
    assert "removed nothing" in capsys.readouterr().out
    assert main(["gc", *output, "--older-than", "0"]) == 0
    assert "removed nothing" in capsys.readouterr().out
    monkeypatch.setattr("pipeline.dataset.garbage._LEAST_GRACE_SECONDS", 0)
    assert main(["gc", *output, "--older-than", "0", "--dry-run"]) == 0
    assert "would remove 3 one-asset files" in capsys.readouterr().out
    assert len(list(tmp_path.glob("assets/*/*.parquet"))) == 3
    assert main(["gc", *output, "--older-than", "0"]) == 0
    assert "removed 3 one-asset files" in capsys.readouterr().out
    assert list(tmp_path.glob("assets/*/*.parquet")) == []
    assert store.committed() == {task.asset_id for task in tasks}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compact", "--target-mb", "0"], "--target-mb 0: expected 1 or more"),
        (["compact", "--partition-by", "nothing"], "cannot partition by 'nothing'"),
        (["gc", "--older-than", "-1"], "--older-than -1.0: expected 0 to 1000000 hours"),
        (["gc", "--older-than", "nan"], "expected 0 to 1000000 hours"),
        (["gc", "--older-than", "inf"], "expected 0 to 1000000 hours"),
    ],
)
def test_mistakes_in_keeping_a_dataset_are_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    open_store(str(tmp_path))
    assert main([*words, "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_garbage_is_not_collected_while_a_run_is_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path))
    lease = Lease.acquire(store.objects, holder="run-1", share=False)
    try:
        assert main(["gc", "--output", str(tmp_path)]) == 1
    finally:
        lease.release()
    assert "run-1" in capsys.readouterr().err
