import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import recipes
from pipeline.actors.embeddings import Wanted, entry_name, entry_of
from pipeline.actors.engine_port import EngineSpec, texts_asked
from pipeline.records import Task
from tests.pipeline.sample_assets import open_store, sample_task


def spec(**distillation: object) -> EngineSpec:
    recipe = recipes.get("smoke").to_dict()
    recipe["distillation"] |= distillation
    return EngineSpec(
        recipe=recipe, guidance="x", guidance_digest="g" * 64, num_slots=1, num_threads=1
    )


def test_an_entry_is_named_by_weights_and_texts() -> None:
    names = {
        entry_name(digest, texts)
        for digest in ("a", "b")
        for texts in (["", "x"], ["x", ""], ["x"], ["", "xy"], ['","', "x"])
    }
    assert len(names) == 10
    assert entry_name("a", ["", "x"]) == entry_name("a", ("", "x"))


def test_seeds_of_a_prompt_share_an_entry_and_negative_prompts_do_not() -> None:
    one, two = sample_task(1, prompt="a cup").prompt, sample_task(2, prompt="a cup").prompt
    assert one.seed != two.seed
    assert entry_of(spec(), one) == entry_of(spec(), two)
    assert entry_of(spec(), one) != entry_of(spec(prompt_views="none"), one)
    words = ("front view", "side view", "back view", "overhead view")
    expected = (one.negative_prompt, *(f"a cup, {word}" for word in words))
    assert texts_asked(spec(), one) == expected


def entries(path: Path) -> set[str]:
    return {entry.name for entry in (path / "_embeddings").glob("*")}


def test_an_entry_goes_with_the_last_task_under_way_that_wants_it(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    cups = [sample_task(k, prompt="a cup") for k in range(2)]
    tasks: list[Task] = [*cups, sample_task(2, prompt="a jug")]
    for task in tasks:
        store.write_embedding(entry_of(spec(), task.prompt), b"x")
    store.write_embedding("of-an-earlier-run", b"x")
    wanted = Wanted(store, spec())
    for task in (*tasks, cups[0]):
        wanted.ordered(task)
    cup, jug = (entry_of(spec(), tasks[k].prompt) for k in (0, 2))
    wanted.settled(cups[0])
    wanted.settled(tasks[2])
    wait_for(lambda: jug not in entries(tmp_path))
    assert entries(tmp_path) == {cup, "of-an-earlier-run"}
    wanted.settled(cups[1])
    wait_for(lambda: cup not in entries(tmp_path))
    wanted.ordered(cups[0])
    wanted.settled(cups[0])
    wanted.clear()
    assert not (tmp_path / "_embeddings").exists()
    wanted.close()


def test_a_run_that_is_broken_off_leaves_what_is_wanted(tmp_path: Path) -> None:
    store, task = open_store(str(tmp_path)), sample_task(1)
    wanted = Wanted(store, spec())
    wanted.ordered(task)
    store.write_embedding(entry_of(spec(), task.prompt), b"x")
    wanted.close()
    assert entries(tmp_path) == {entry_of(spec(), task.prompt)}


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_cannot_be_deleted_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, task = open_store(str(tmp_path)), sample_task(1)

    def refuse(*_: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(type(store), "remove_embedding", refuse)
    wanted = Wanted(store, spec())
    wanted.ordered(task)
    wanted.settled(task)
    wait_for(lambda: "not deleted: not yours" in caplog.text)
    wanted.close()
