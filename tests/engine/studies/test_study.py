"""The frame of the studies: going on, sharing; with a judge that needs no weights."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from engine import recipes
from engine.evaluation import progress
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.manner import Manner
from engine.evaluation.variations import Variation
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.primitives.splits import choose
from engine.studies import order, study
from engine.studies.order import Order
from engine.studies.results import Result
from tests.engine.studies.fakes import Bench

SMOKE = replace(recipes.get("smoke"), iterations=2)
OFFERED = [
    Variation(name="base", recipe=SMOKE),
    Variation(name="base, longer", recipe=replace(SMOKE, iterations=3)),
    Variation(name="other", recipe=replace(SMOKE, views=2)),
]


def asked(bench: Bench, out: Path, offered: Sequence[Variation], *flags: str) -> Order:
    parser = order.parser("tried", None, split="dev", judge="j1", prompts=2)
    order.add_choice(parser, [variation.name for variation in offered])
    return order.order(parser.parse_args([*bench.flags(out), *flags]), offered)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_study_goes_on_where_it_stopped_and_leaves_its_files(
    studies: Bench, tmp_path: Path
) -> None:
    found = study.run(asked(studies, tmp_path, OFFERED, "--only", "other"))
    assert [result.name for result in found] == ["other"]
    assert len(studies.gangs) == 1
    columns = {"first": lambda result: result.scenes[0]["caption"]}
    found = study.run(asked(studies, tmp_path, OFFERED), columns=columns)
    # In the order in which they are offered, and "other" was not made again.
    assert [result.name for result in found] == [v.name for v in OFFERED]
    assert [gang.iterations for gang in studies.gangs] == [2, 2, 3]
    captions = [caption(spec) for spec in choose("dev", 2, order.SEED)]
    assert [scene["caption"] for scene in found[0].scenes] == captions
    table = (tmp_path / "table.md").read_text().splitlines()
    assert table[0].startswith("|  | evaluations | s a scene | ok | R 64 |")
    assert table[0].endswith("| first |")
    assert table[4].startswith("| other | 4 |")
    assert table[2].endswith(f"| {captions[0]} |")
    document = json.loads((tmp_path / "results.json").read_text())
    assert (document["judge"], document["prompts"]) == ("j1", 2)
    assert [row["evaluations"] for row in document["results"]] == [2, 3, 4]
    with Image.open(tmp_path / "pictures.png") as image:
        assert image.width > 3 * 2 * 128
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 3
    study.run(asked(studies, tmp_path, OFFERED))
    assert len(studies.gangs) == 3


def test_parts_make_the_scenes_that_the_whole_makes(studies: Bench, tmp_path: Path) -> None:
    whole = study.run(asked(studies, tmp_path / "whole", OFFERED[:1]))
    for part in ("2/2", "1/2"):
        found = study.run(asked(studies, tmp_path / "parts", OFFERED[:1], "--part", part))
    assert [gang.num_scenes for gang in studies.gangs] == [2, 1, 1]
    for part, all_at_once in zip(found[0].scenes, whole[0].scenes, strict=True):
        # A gang of another size sums in another order.
        assert part.pop("losses") == pytest.approx(all_at_once.pop("losses"), rel=1e-2)
        assert part == all_at_once
    assert found[0].caption_score == pytest.approx(whole[0].caption_score, abs=1e-3)
    assert len(lines(tmp_path / "parts")) == 2
    assert " 2 |" in (tmp_path / "parts" / "table.md").read_text()


def test_every_result_names_the_tree_that_made_it(
    studies: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, tree in (("base", "one"), ("other", "two")):
        monkeypatch.setattr(study, "commit", lambda tree=tree: tree)
        study.run(asked(studies, tmp_path, OFFERED, "--only", name))
    document = json.loads((tmp_path / "results.json").read_text())
    trees = {row["name"]: row["trees"] for row in document["results"]}
    assert {name: [tree["commit"] for tree in found] for name, found in trees.items()} == {
        "base": ["one"],
        "other": ["two"],
    }
    assert trees["base"][0]["versions"]["torch"] == torch.__version__


def test_who_waits_is_told_how_far_a_gang_is(
    studies: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    study.run(asked(studies, tmp_path, OFFERED[:1], "--slots", "1"))
    assert capsys.readouterr().err.splitlines() == [f"base: step {k} of 4" for k in (1, 2, 3, 4)]


def test_flags_say_how_gangs_are_run_where_that_is_not_what_is_varied(
    studies: Bench, tmp_path: Path
) -> None:
    manner = Manner(slots=1, is_exact=True)
    offered = [*OFFERED[:1], replace(OFFERED[2], manner=manner)]
    found = study.run(asked(studies, tmp_path, offered, "--slots", "2", "--launched"))
    assert [(gang.num_slots, gang.is_exact) for gang in studies.gangs] == [(2, False), (1, True)]
    told = [Manner(**result.manner) for result in found if result.manner]
    assert told == [Manner(slots=2, captured=False), manner]
    # Scenes do not depend on the flags: they are not made again under others.
    study.run(asked(studies, tmp_path, offered))
    assert len(studies.gangs) == 2


def test_a_part_alone_says_how_many_scenes_are_missing(studies: Bench, tmp_path: Path) -> None:
    study.run(asked(studies, tmp_path, OFFERED[:1], "--part", "2/2"))
    assert "of 1 (2) |" in (tmp_path / "table.md").read_text()
    assert not (tmp_path / "pictures.png").exists()


def test_words_stand_below_every_table_whoever_writes_it(
    studies: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[list[str]] = []

    def words(found: Sequence[Result]) -> str:
        heard.append([result.name for result in found])
        return f"{len(found)} are there.\n" if len(found) > 1 else ""

    study.run(asked(studies, tmp_path, OFFERED[:2]), words=words)
    table = (tmp_path / "table.md").read_text()
    assert table.endswith("|\n\n2 are there.\n")
    assert capsys.readouterr().out.endswith(f"{table}\n")
    study.run(asked(studies, tmp_path, OFFERED), words=words)
    assert (tmp_path / "table.md").read_text().endswith("|\n\n3 are there.\n")
    names = [variation.name for variation in OFFERED]
    # After each that was made, and in the end.
    assert heard == [names[:1], names[:2], names[:2], names, names]


def test_nothing_said_leaves_the_table_alone(studies: Bench, tmp_path: Path) -> None:
    study.run(asked(studies, tmp_path, OFFERED[:1]))
    assert (tmp_path / "table.md").read_text().count("\n") == 3


def test_what_a_study_asks_besides_is_kept(studies: Bench, tmp_path: Path) -> None:
    def examine(colour: torch.Tensor, specs: Sequence[Spec], lexicon: Lexicon) -> list[dict]:
        assert colour.shape == (2, 8, 3, 64, 64)
        return [{"number": k} for k, _ in enumerate(specs)]

    study.run(asked(studies, tmp_path, OFFERED[:1]), examine=examine)
    assert [scene["number"] for scene in lines(tmp_path)[0]["scenes"]] == [0, 1]
