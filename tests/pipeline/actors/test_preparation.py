"""Texts that come late, damaged, or not at all; the text actor and the store are the tests' own."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from pipeline.actors.embeddings import entry_name
from pipeline.actors.preparation import Preparer
from pipeline.actors.publisher import StageError
from pipeline.records import Attempt
from pipeline.storage.seals import seal
from pipeline.store import Store
from tests.pipeline.actors.test_embeddings import spec
from tests.pipeline.fake_ray import task_error, unavailable
from tests.pipeline.sample_assets import open_store, sample_task

ATTEMPT = Attempt(task=sample_task(1), attempt_id="a" * 32, number=1, seed=1)


class FakeEncoder:
    """The handle of a text actor: each call does what is next in `script`, then all are well.

    An exception is raised, a text in `bytes` is written as it is, a `str` is a refusal.
    """

    def __init__(self, store: Store, *script: Exception | bytes | str) -> None:
        self._store = store
        self._script = list(script)
        self.embed = SimpleNamespace(remote=self._embed)

    async def _embed(self, texts: Sequence[str]) -> str | None:
        step = self._script.pop(0) if self._script else seal(b"sound")
        if isinstance(step, Exception):
            raise step
        if isinstance(step, str):
            return step
        self._store.write_embedding(entry_name(spec().guidance_digest, texts), step)
        return None


def prepare(store: Store, encoder: Any, *, seconds: float = 20.0) -> tuple[Any, Any]:
    """With two tries."""
    ours = replace(spec(), texts_seconds=seconds)
    return asyncio.run(Preparer(ours, store, encoder, delays=(0.0,)).prepare(ATTEMPT))


def failure(store: Store, encoder: Any, *, seconds: float = 20.0) -> tuple[str, str]:
    with pytest.raises(StageError) as caught:
        prepare(store, encoder, seconds=seconds)
    return caught.value.kind, str(caught.value)


def test_without_an_encoder_there_are_no_texts(tmp_path: Path) -> None:
    assert prepare(open_store(str(tmp_path)), None) == (None, None)


FAULTS = [
    unavailable(),
    task_error(OSError(5, "503 slow down")).as_instanceof_cause(),
    b"",
    seal(b"sound")[:-1],
]


@pytest.mark.parametrize("fault", FAULTS, ids=["away", "503", "empty", "cut short"])
def test_a_fault_is_made_good_once_and_blamed_on_nobody_twice(
    tmp_path: Path, fault: Exception | bytes
) -> None:
    store = open_store(str(tmp_path))
    assert prepare(store, FakeEncoder(store, fault)) == (b"sound", None)
    kind, words = failure(store, FakeEncoder(store, fault, fault))
    assert kind == "encode"
    assert len(words.splitlines()) == 1
    if isinstance(fault, bytes):
        assert "_embeddings/" in words
        assert "is damaged or gone" in words
    elif not isinstance(fault, ActorUnavailableError):
        assert "503 slow down" in words


def test_an_entry_that_cannot_be_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    read, faults = store.read_embedding, [OSError(5, "503 slow down")]

    def fickle(name: str) -> bytes | None:
        if faults:
            raise faults.pop()
        return read(name)

    monkeypatch.setattr(store, "read_embedding", fickle)
    assert prepare(store, FakeEncoder(store)) == (b"sound", None)
    assert not faults


def test_a_text_that_the_encoder_refuses_is_its_prompt_s_own_fault(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    refusal = "ValueError: no such word"
    assert failure(store, FakeEncoder(store, refusal)) == ("internal", refusal)


def test_nobody_waits_for_a_silent_encoder_for_ever(tmp_path: Path) -> None:
    async def embed(texts: Sequence[str]) -> None:
        await asyncio.Event().wait()

    encoder, began = SimpleNamespace(embed=SimpleNamespace(remote=embed)), time.monotonic()
    found = failure(open_store(str(tmp_path)), encoder, seconds=0.05)
    assert found == ("encode", "its texts were not embedded within 0 s")
    assert time.monotonic() - began < 10
