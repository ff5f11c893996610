"""`dreambatch evaluate` on small datasets, with a tiny random CLIP and with the oracle as judge."""

import logging
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from engine.evaluation import ceilings, stage
from engine.evaluation.benchmark_prompts import benchmark_specs
from engine.evaluation.examiners import ClipExaminer, EmbeddedExaminer
from engine.evaluation.judging import verdicts
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.pools import with_swaps
from engine.evaluation.report import table
from engine.evaluation.stage import Stage, show_scenes
from engine.evaluation.verdict import figures
from engine.primitives.captions import caption, parse
from engine.scene import Scene
from pipeline import compact, exit_codes
from pipeline.cli import main
from pipeline.dataset import catalog
from pipeline.dataset.scores import Scores
from pipeline.errors import UserError
from pipeline.evaluation import desk, evaluate, judges
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.metrics import JobMetrics
from tests.engine.evaluation.oracles import Oracle
from tests.engine.evaluation.test_examiners import cosines
from tests.pipeline.buckets import Bucket
from tests.pipeline.evaluation.scenes_store import begin, commit
from tests.tiny_clip import SIZE, write_tiny_clip
from tests.true_scenes import true_scene

DUCK, CAR, BALL = "a red duck with yellow beak", "a blue car", "a green ball"
FOV_DEG = 2 * np.degrees(np.arctan(8 / 20.0))
"""Of the sample assets' own cameras."""


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures need not be good here."""
    monkeypatch.setattr(stage, "_LATTICE_SIZE", 24)
    monkeypatch.setattr(stage, "_SAMPLES", 24)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"clip:{write_tiny_clip(tmp_path_factory.mktemp('clip') / 'tiny')}"


def scene(prompt: str) -> Scene:
    return true_scene(parse(prompt), size=20)


def said_by(settings: EvaluateSettings) -> list[str]:
    said: list[str] = []
    evaluate.evaluate(replace(settings, metrics_port=0), said.append)
    return said


def rows(output: Path) -> Any:
    return pd.read_parquet(output / "catalog").set_index("asset_id")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many assets were looked at, look by look."""
    counts: list[int] = []
    look = ClipExaminer.look

    def counted(self: ClipExaminer, staged: object) -> object:
        counts.append(len(staged.colour))  # type: ignore[attr-defined]
        return look(self, staged)  # type: ignore[arg-type]

    monkeypatch.setattr(ClipExaminer, "look", counted)
    return counts


def test_a_clip_s_scores_by_hand(tmp_path: Path, clip: str) -> None:
    store = begin(tmp_path)
    prompts = [DUCK, CAR, BALL]
    tasks = [commit(store, k, prompt, scene(prompt)) for k, prompt in enumerate(prompts)]
    said = "\n".join(said_by(EvaluateSettings(output=str(tmp_path), judge=(clip,))))
    stored = [Scene.from_bytes(scene(prompt).to_bytes()) for prompt in prompts]
    staged = show_scenes(stored, Stage(size=SIZE, radius=2.4, fov_deg=FOV_DEG))
    frame = rows(tmp_path)
    path = Path(clip.removeprefix("clip:"))
    for kind, pictures in (("", staged.colour), ("geometry_", staged.geometry)):
        found = cosines(path, pictures, prompts)
        for k, task in enumerate(tasks):
            row = frame.loc[task.asset_id]
            assert row[f"score_tiny_{kind}similarity"] == pytest.approx(found[k, k], abs=1e-4)
            is_hit = found[k].argmax() == k
            assert row[f"score_tiny_{kind}r_precision"] == is_hit
            assert row[f"score_tiny_{kind}place"] == sum(found[k] > found[k, k])
        hits = sum(found.argmax(axis=1) == np.arange(3)) / 3
        assert frame[f"score_tiny_{kind}r_precision"].mean() == pytest.approx(hits)
    assert frame["is_best"].tolist() == [True] * 3
    assert "tiny: judge clip:" in said
    assert "3 newly scored" in said
    assert "is_best follows score_tiny_overall" in said


def test_a_rerun_scores_only_what_is_new(tmp_path: Path, clip: str, looked: list[int]) -> None:
    store, settings = begin(tmp_path), EvaluateSettings(output=str(tmp_path), judge=(clip,))
    for k in range(3):
        commit(store, k, BALL if k else DUCK, scene(BALL))
    said_by(settings)
    files = sorted((tmp_path / "scores").rglob("*.parquet"))
    assert sum(looked) == 3
    said = "\n".join(said_by(settings))
    assert sum(looked) == 3
    assert sorted((tmp_path / "scores").rglob("*.parquet")) == files
    assert "0 newly scored, 3 before" in said
    new = commit(store, 7, BALL, scene(BALL))
    said = "\n".join(said_by(settings))
    assert sum(looked) == 4
    assert "1 newly scored, 3 before" in said
    assert rows(tmp_path)["score_tiny_overall"].notna().all()
    assert rows(tmp_path).loc[new.asset_id, "score_tiny_place"] in (0, 1)


def test_a_grown_pool_is_judged_from_what_was_seen(
    tmp_path: Path, clip: str, looked: list[int]
) -> None:
    store, settings = begin(tmp_path), EvaluateSettings(output=str(tmp_path), judge=(clip,))
    first = commit(store, 0, BALL, scene(BALL))
    said_by(settings)
    assert pd.isna(rows(tmp_path).loc[first.asset_id, "score_tiny_place"]), "nobody to beat"
    commit(store, 1, CAR, scene(CAR))
    commit(store, 2, DUCK, scene(DUCK))
    said = "\n".join(said_by(settings))
    assert sum(looked) == 3, "the first was not looked at again"
    assert "2 newly scored, 1 judged again in this pool" in said
    grown = rows(tmp_path)
    fresh = tmp_path / "fresh"
    other = begin(fresh)
    for k, prompt in enumerate((BALL, CAR, DUCK)):
        commit(other, k, prompt, scene(prompt))
    said_by(EvaluateSettings(output=str(fresh), judge=(clip,)))
    names = [name for name in grown.columns if name.startswith("score_")]
    assert len(names) == 8
    pd.testing.assert_frame_equal(grown[names], rows(fresh)[names], atol=1e-6)


def test_a_killed_evaluation_goes_on(
    tmp_path: Path, clip: str, looked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, settings = begin(tmp_path), EvaluateSettings(output=str(tmp_path), judge=(clip,))
    for k in range(5):
        commit(store, k, BALL, scene(BALL))
    monkeypatch.setattr(desk, "_AT_ONCE", 2)
    monkeypatch.setattr(desk, "_FLUSH_ROWS", 2)
    write = Scores.write
    written: list[int] = []

    def once(self: Scores, *arguments: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(1)
        write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Scores, "write", once)
    with pytest.raises(KeyboardInterrupt):
        said_by(settings)
    monkeypatch.setattr(Scores, "write", write)
    catalog.write(store)
    assert "score_tiny_overall" not in rows(tmp_path).columns, "nothing is published yet"
    before = sum(looked)
    said = "\n".join(said_by(settings))
    assert sum(looked) - before == 3
    assert "3 newly scored, 2 before" in said
    assert rows(tmp_path)["score_tiny_overall"].notna().all()


def test_damaged_assets_are_named_and_left_out(
    tmp_path: Path, clip: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = begin(tmp_path)
    good = commit(store, 0, DUCK, scene(DUCK))
    bad = scene(BALL)
    bad_parameters = {"grid20": np.nan * bad._parameters["grid20"]}
    bare = commit(store, 1, BALL, None)
    junk = commit(store, 2, CAR, b"no field")
    wild = commit(store, 3, BALL, Scene(bad._config, bad_parameters))
    torn = commit(store, 4, BALL, scene(BALL))
    catalog.write(store)
    path = next((tmp_path / "assets").rglob(f"{torn.asset_id}.parquet"))
    path.write_bytes(path.read_bytes()[:500])
    with caplog.at_level(logging.WARNING):
        said = "\n".join(said_by(EvaluateSettings(output=str(tmp_path), judge=(clip,))))
    assert "1 newly scored, 4 could not be read" in said
    for task, reason in (
        (bare, "it has no field"),
        (junk, "expected a field"),
        (wild, "expected finite numbers"),
        (torn, "is no readable asset"),
    ):
        assert [
            record
            for record in caplog.records
            if "not evaluated" in record.getMessage()
            and task.asset_id in record.getMessage()
            and reason in record.getMessage()
        ]
    scored = rows(tmp_path)["score_tiny_overall"].dropna()
    assert scored.index.tolist() == [good.asset_id]


def test_the_best_seed_and_packed_assets(tmp_path: Path, clip: str) -> None:
    store = begin(tmp_path)
    for k, prompt in enumerate((BALL, CAR, DUCK)):
        commit(store, k, DUCK, scene(prompt))
    compact.compact(store)
    said_by(EvaluateSettings(output=str(tmp_path), judge=(clip,)))
    frame = rows(tmp_path)
    assert frame["is_best"].tolist().count(True) == 1
    assert frame["is_best"].idxmax() == frame["score_tiny_overall"].idxmax()


def test_a_judge_of_the_world_gives_the_benchmark_s_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all assets are of the packaged model it is j2, here with the oracle's eyes."""
    lexicon = Lexicon(Oracle())
    monkeypatch.setattr(judges, "_load_embedded", lambda *_: EmbeddedExaminer(lexicon))
    store = begin(tmp_path)
    prompts = [DUCK, CAR, "a green cube on a blue cube", BALL, "a drawing of a dragon"]
    for k, prompt in enumerate(prompts):
        commit(store, k, prompt, scene(prompts[k if k < 2 else 3]))
    said = "\n".join(said_by(EvaluateSettings(output=str(tmp_path))))
    assert "j2: judge j2" in said
    assert "1 with prompts that it does not understand, such as 'a drawing of a dragon'" in said
    specs = [parse(prompt) for prompt in prompts[:4]]
    stored = [Scene.from_bytes(scene(p).to_bytes()) for p in (DUCK, CAR, BALL, BALL)]
    expected = figures(verdicts(show_scenes(stored), specs, lexicon, with_swaps(specs)))
    frame = rows(tmp_path)
    assert frame["score_j2_overall"].isna().sum() == 1
    assert frame["score_j2_r_precision"].mean() == expected.benchmark_retrieval
    assert frame["score_j2_geometry_r_precision"].mean() == expected.geometry_retrieval
    assert frame["score_j2_r_precision_64"].mean() == expected.colour_retrieval
    assert frame["score_j2_kind"].mean() == expected.kind
    (line,) = [line for line in said.splitlines() if line.strip().startswith("all  ")]
    assert line.split()[1] == "4"


def test_captions_of_one_s_own(tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = begin(tmp_path / "out")
    commit(store, 0, BALL, scene(BALL))
    captions = tmp_path / "captions.txt"
    captions.write_text("a dog\na cat\na red car\n")
    settings = EvaluateSettings(output=str(tmp_path / "out"), judge=(clip,), captions=str(captions))
    said = "\n".join(said_by(settings))
    assert "1 assets, 3 captions" in said
    assert [x.is_given for x in Scores(store.objects).metrics()] == [True]
    assert rows(tmp_path / "out")["score_tiny_place"].notna().all()
    monkeypatch.setattr(judges, "_load_embedded", lambda *_: EmbeddedExaminer)
    monkeypatch.setattr(EmbeddedExaminer, "takes", lambda prompt: prompt != "a cat")
    with pytest.raises(UserError, match="'j1' does not understand 'a cat'"):
        said_by(replace(settings, judge=("j1",)))


def test_mistakes_are_one_line(tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = str(tmp_path / "out")
    with pytest.raises(UserError, match="no dataset at"):
        said_by(EvaluateSettings(output=output))
    store = begin(output)
    with pytest.raises(UserError, match="holds no assets yet"):
        said_by(EvaluateSettings(output=output, judge=(clip,)))
    task = commit(store, 0, BALL, scene(BALL))
    assert task.guidance == "primitives"
    with pytest.raises(UserError, match="no such directory"):
        said_by(EvaluateSettings(output=output, report=str(tmp_path / "absent/report.html")))
    with pytest.raises(UserError, match=r"expected a file that ends in \.html"):
        said_by(EvaluateSettings(output=output, report=str(tmp_path / "report.pdf")))
    with pytest.raises(UserError, match="--metrics-port: expected"):
        evaluate.evaluate(EvaluateSettings(output=output, metrics_port=99999))
    found = replace(evaluate.census(store), is_embedded=False)
    monkeypatch.setattr(evaluate, "census", lambda _: found)
    with pytest.raises(UserError, match=r"another diffusion model .*; name a CLIP, such as clip:"):
        said_by(EvaluateSettings(output=output))


def test_judges_of_one_label_are_refused(
    tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = begin(tmp_path)
    commit(store, 0, BALL, scene(BALL))
    settings = EvaluateSettings(output=str(tmp_path), judge=(clip, clip))
    with pytest.raises(UserError, match="expected judges that differ in the last part"):
        said_by(settings)
    find = evaluate.judges.find
    labels = iter(["x", "x_geometry"])
    monkeypatch.setattr(
        evaluate.judges, "find", lambda name: replace(find(name), label=next(labels))
    )
    with pytest.raises(UserError, match="'x' and 'x_geometry' would both write"):
        said_by(settings)
    assert not (tmp_path / "scores").exists()


def test_the_census_knows_the_packaged_model_by_name_and_weights(tmp_path: Path) -> None:
    store = begin(tmp_path)
    commit(store, 0, BALL, b"x")
    found = evaluate.census(store)
    assert (found.num_assets, found.captions, found.is_embedded) == (1, [BALL], True)


def test_scores_are_metrics(tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = begin(tmp_path)
    commit(store, 0, BALL, scene(BALL))
    scraped: list[str] = []

    def scrape(self: JobMetrics) -> None:
        assert self._server is not None
        url = f"http://localhost:{self._server.server_port}/metrics"
        with urllib.request.urlopen(url) as answer:
            scraped.append(answer.read().decode())
        raise KeyboardInterrupt

    monkeypatch.setattr(JobMetrics, "is_watched", lambda _: True)
    monkeypatch.setattr(JobMetrics, "linger", scrape)
    said = said_by(EvaluateSettings(output=str(tmp_path), judge=(clip,)))
    assert said[0].startswith("metrics at http://localhost:")
    assert said[-1] == "metrics stay for two more scrapes; Ctrl-C ends now"
    (text,) = scraped
    for score in ("similarity", "geometry_similarity", "janus", "overall"):
        assert f'dreambatch_asset_score_count{{score="tiny_{score}"}} 1.0' in text
    never = 'dreambatch_asset_score_count{score="tiny_r_precision"} 0.0'
    assert never in text, "it is null where nobody else is in the pool"


def test_a_busy_port_costs_a_warning(tmp_path: Path, clip: str) -> None:
    store = begin(tmp_path)
    commit(store, 0, BALL, scene(BALL))
    other, said = JobMetrics(), []
    port = other.serve(0)
    try:
        settings = EvaluateSettings(output=str(tmp_path), judge=(clip,), metrics_port=port)
        evaluate.evaluate(settings, said.append)
    finally:
        other.close()
    assert said[0].startswith(f"warning: metrics port {port} cannot be used")


def test_a_bucket_is_evaluated_as_a_disk_is(
    clip: str, monkeypatch: pytest.MonkeyPatch, looked: list[int]
) -> None:
    import fsspec

    fsspec.register_implementation("bucket", Bucket, clobber=True)
    Bucket.store.clear()
    store = begin("bucket://place/out")
    commit(store, 0, BALL, scene(BALL))
    commit(store, 1, DUCK, scene(DUCK))
    for _ in range(2):
        said_by(EvaluateSettings(output="bucket://place/out", judge=(clip,)))
    assert sum(looked) == 2
    assert catalog.collect(store)["score_tiny_overall"].null_count == 0


def test_the_command(tmp_path: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    output, report = str(tmp_path / "out"), tmp_path / "report.html"
    words = ["evaluate", "--output", output, "--metrics-port", "0", "--judge", clip]
    assert main(words) == exit_codes.USER
    assert capsys.readouterr().err.startswith("dreambatch: error: no dataset at")
    store = begin(output)
    commit(store, 0, "a green ball\x1b[2J", scene(BALL))
    assert main([*words, "--report", str(report)]) == exit_codes.COMPLETE
    said = capsys.readouterr().out
    assert f"report: {report}" in said
    assert "\x1b" not in said
    assert "<svg" in report.read_text()


@pytest.mark.slow
def test_j2_gives_the_benchmark_s_own_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of the benchmark, one of them shown as another's scene, on the stage as it is."""
    monkeypatch.setattr(stage, "_LATTICE_SIZE", 96)
    monkeypatch.setattr(stage, "_SAMPLES", 128)
    loaded: list[EmbeddedExaminer] = []
    load = judges._load_embedded

    def once(path: Path, device: torch.device) -> EmbeddedExaminer:
        loaded.append(load(path, device))  # type: ignore[arg-type]
        return loaded[0]

    monkeypatch.setattr(judges, "_load_embedded", once)
    specs = benchmark_specs("test", 6)
    shown = [*specs[:5], specs[0]]
    store = begin(tmp_path)
    tasks = [
        commit(store, k, caption(spec), true_scene(scene))
        for k, (spec, scene) in enumerate(zip(specs, shown, strict=True))
    ]
    said = "\n".join(said_by(EvaluateSettings(output=str(tmp_path), judge=("j2",))))
    stored = [Scene.from_bytes(true_scene(scene).to_bytes()) for scene in shown]
    found = verdicts(show_scenes(stored), specs, loaded[0]._lexicon, with_swaps(specs))
    frame = rows(tmp_path).loc[[task.asset_id for task in tasks]]
    assert frame["score_j2_place"].tolist() == [one.benchmark_place for one in found]
    assert frame["score_j2_geometry_place"].tolist() == [one.geometry_place for one in found]
    assert frame["score_j2_kind"].tolist() == [one.is_kind_right for one in found]
    assert frame["score_j2_r_precision"].tolist()[:5] == [1.0] * 5, "true scenes are found"
    assert frame["score_j2_r_precision"].tolist()[5] == 0.0
    expected = table(ceilings.rows(found))
    assert [line.strip() for line in expected.splitlines()] == [
        line.strip() for line in said.splitlines()[-len(expected.splitlines()) - 1 : -1]
    ]
