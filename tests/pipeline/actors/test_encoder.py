"""The text actor as Ray calls it, without Ray; and the optimisation actor that asks it."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load

from engine.guidance import files
from engine.guidance.texts import TextEncoder
from pipeline.actors import encoder as encoder_module
from pipeline.actors.embeddings import entry_name
from pipeline.actors.encoder import TextActor
from pipeline.actors.engine_port import EngineSpec, load_engine, load_texts, texts_asked
from pipeline.storage.seals import seal, unseal
from pipeline.store import Store
from tests.pipeline.actors.test_embeddings import spec
from tests.pipeline.sample_assets import open_store, sample_task

DIGEST = spec().guidance_digest


class FakeTexts:
    """Joins the texts; keeps the batches, and waits for the gate before each."""

    def __init__(self, spec: EngineSpec) -> None:
        self.batches: list[list[tuple[str, ...]]] = []
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, batch: Sequence[Sequence[str]]) -> list[bytes]:
        self.batches.append([tuple(texts) for texts in batch])
        assert self.gate.wait(20)
        if any("unembeddable" in text for texts in batch for text in texts):
            raise ValueError("no such word")
        if any("endless" in text for texts in batch for text in texts):
            raise MemoryError
        return ["|".join(texts).encode() for texts in batch]


def serve(store: Store, story: Callable[[TextActor, FakeTexts], Awaitable[None]]) -> FakeTexts:
    """Tells a story to a fresh actor."""
    engine = FakeTexts(spec())

    async def run() -> None:
        await story(TextActor(lambda _: engine, spec(), store, delays=(0.0,)), engine)

    asyncio.run(run())
    return engine


def entry(store: Store, *texts: str) -> bytes | None:
    return unseal(store.read_embedding(entry_name(DIGEST, texts)))


def test_what_waits_together_is_embedded_together_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "BATCH", 3)
    store = open_store(str(tmp_path))

    async def story(actor: TextActor, engine: FakeTexts) -> None:
        assert await actor.load() == os.getpid()
        engine.gate.clear()
        first = asyncio.create_task(actor.embed(("", "a")))
        while not engine.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(actor.embed(("", c))) for c in "bcdbe"]
        await asyncio.sleep(0.01)
        engine.gate.set()
        await asyncio.gather(first, *others)
        await actor.embed(("", "c"))

    engine = serve(store, story)
    assert engine.batches[0] == [("", "a")]
    assert engine.batches[1] == [("", "b"), ("", "c"), ("", "d")]
    assert engine.batches[2:] == [[("", "e")]]
    assert [entry(store, "", c) for c in "abcde"] == [f"|{c}".encode() for c in "abcde"]


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    name = entry_name(DIGEST, ("", "a"))

    async def story(actor: TextActor, engine: FakeTexts) -> None:
        for damaged in (b"", b"junk", seal(b"|a")[:-1]):
            store.write_embedding(name, damaged)
            await actor.embed(("", "a"))
            assert entry(store, "", "a") == b"|a"

    assert len(serve(store, story).batches) == 3


def test_a_text_that_is_refused_is_refused_alone(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    async def story(actor: TextActor, engine: FakeTexts) -> None:
        await actor.load()
        engine.gate.clear()
        first = asyncio.create_task(actor.embed(("", "first")))
        texts = ("good", "unembeddable", "fine")
        others = [asyncio.create_task(actor.embed(("", text))) for text in texts]
        await asyncio.sleep(0.01)
        engine.gate.set()
        assert await first is None
        assert await asyncio.gather(*others) == [None, "ValueError: no such word", None]
        assert len(engine.batches[1]) == 3, "they waited together"

    serve(store, story)
    assert [entry(store, "", t) for t in ("good", "fine")] == [b"|good", b"|fine"]
    assert entry(store, "", "unembeddable") is None


def test_an_encoder_without_memory_refuses_nobody(tmp_path: Path) -> None:
    async def story(actor: TextActor, engine: FakeTexts) -> None:
        with pytest.raises(MemoryError):
            await actor.embed(("", "endless"))
        assert await actor.embed(("", "fine")) is None

    serve(open_store(str(tmp_path)), story)


class FickleStore:
    """A store whose next calls about embeddings are refused."""

    def __init__(self, store: Store, num_refused: int) -> None:
        self._store = store
        self.num_refused = num_refused
        self.url = store.url

    def read_embedding(self, name: str) -> bytes | None:
        self._refuse()
        return self._store.read_embedding(name)

    def write_embedding(self, name: str, data: bytes) -> None:
        self._refuse()
        self._store.write_embedding(name, data)

    def _refuse(self) -> None:
        self.num_refused -= 1
        if self.num_refused >= 0:
            raise OSError(5, "503 slow down")


@pytest.mark.parametrize("num_refused", [1, 2])
def test_what_the_store_refuses_once_is_tried_again(tmp_path: Path, num_refused: int) -> None:
    store = open_store(str(tmp_path))
    fickle: Any = FickleStore(store, num_refused)

    async def ask() -> None:
        actor = TextActor(FakeTexts, spec(), fickle, delays=(0.0, 0.0))
        assert await actor.embed(("", "a")) is None

    asyncio.run(ask())
    assert entry(store, "", "a") == b"|a"
    assert fickle.num_refused < 0


def test_a_ping_says_how_long_a_batch_has_taken(tmp_path: Path) -> None:
    async def story(actor: TextActor, engine: FakeTexts) -> None:
        assert await actor.ping() == 0.0
        engine.gate.clear()
        call = asyncio.create_task(actor.embed(("", "a")))
        await asyncio.sleep(0.1)
        assert 0.03 < await actor.ping() < 20
        engine.gate.set()
        await call
        assert await actor.ping() == 0.0

    serve(open_store(str(tmp_path)), story)


def test_an_encoder_that_fails_to_load_fails_the_call() -> None:
    def refuse(_: EngineSpec) -> FakeTexts:
        raise ValueError("cannot be read")

    async def ask() -> None:
        actor = TextActor(refuse, spec(), SimpleNamespace())  # pyright: ignore[reportArgumentType]
        for _ in range(2):
            with pytest.raises(ValueError, match="cannot be read"):
                await actor.load()

    asyncio.run(ask())


def real_spec(weights: Path, *, has_text_encoder: bool) -> EngineSpec:
    return EngineSpec(
        recipe=dict(spec().recipe),
        guidance=str(weights),
        guidance_digest=files.digest(weights),
        num_slots=1,
        num_threads=1,
        has_text_encoder=has_text_encoder,
    )


def test_real_texts_arrive_in_the_request_to_the_bit(tiny_weights: Path) -> None:
    ours = real_spec(tiny_weights, has_text_encoder=False)
    prompt = sample_task(1, prompt="a red ball").prompt
    other = sample_task(2, prompt="a blue ball").prompt
    texts = load_texts(ours)
    both = texts.encode([texts_asked(ours, prompt), texts_asked(ours, other)])
    expected = TextEncoder.load(tiny_weights, device="cpu").encode(list(texts_asked(ours, other)))
    assert torch.equal(load(both[1])["text"], expected)
    engine = load_engine(ours)
    request = engine.request(key="k", prompt="", negative_prompt="", seed=1, text=both[1])
    assert torch.equal(request.text, expected)
    gang = engine.new_gang(num_slots=2)
    gang.add(request)
    gang.step()
    with pytest.raises(ValueError, match="loaded without its text encoder"):
        engine.new_gang(num_slots=2).add(
            engine.request(key="k", prompt="", negative_prompt="", seed=1, text=None)
        )
