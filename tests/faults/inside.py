"""`dreambatch` whose actors have accidents at a chosen point: the fake engine, and these.

    hold   the first commit of an asset stops `before` its upload, `during` it (on a local disk:
           written, but without its name; elsewhere: sent, see `places.Place.gate`), or `after` it,
           before anybody hears of it; it goes on when there is a note `released`
    full   so many writes of actors to the local disk find it full, or of the driver too; and all,
           while there is a note `full`
    exports  each export stops before it begins, and goes on likewise; it is noted that it has come
           so far, and which scenes were done before
    refused  so many reads and writes of embedded texts are refused

With `has_texts` there is an encode stage: a fake text encoder, whose process can be killed.

What happens is noted in files of a directory, so that it happens once however many processes there
are, and a test can wait for it: `held`, `full-<k>`, `refused-<k>`; likewise who there was,
`actors/<pid>`, `encoders/<pid>` and `drivers/<pid>`, by whom a scene was done and an asset
exported, `done/<key>-<pid>` and `exports/<key>-<pid>`, and at which step a scene went on from its
checkpoint, `resumed/<key>-<step>`. The environment variable `ACCIDENTS` tells the driver, and the
factories carry it to the actors; nothing of it is known to the product.

`python -m tests.faults.inside run ...` is `dreambatch run ...` so.
"""

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from engine.export.asset import Asset
from pipeline.actors.engine_port import EngineSpec
from pipeline.cli import main
from pipeline.storage.objects import Objects
from tests.pipeline.fake_engine import FakeEngine, FakeGang, Request
from tests.pipeline.fake_engine import Scene as FakeScene

VARIABLE = "ACCIDENTS"
HELD_SECONDS = 60.0
"""For how long a commit or an export is held, at most."""

Point = Literal["before", "during", "after"]


@dataclass(frozen=True, kw_only=True)
class Accidents:
    """What is to happen; `notes` is the directory."""

    notes: str
    hold: Point | None = None
    holds_exports: bool = False
    num_full: int = 0
    is_driver_full: bool = False
    num_refused: int = 0
    has_texts: bool = False

    def environment(self) -> dict[str, str]:
        """What tells a driver."""
        return {VARIABLE: json.dumps(asdict(self))}

    def note(self, name: str) -> Path:
        """Where it is noted that something happened."""
        return Path(self.notes) / name

    def touch(self, name: str) -> None:
        """Notes something."""
        self.note(name).parent.mkdir(exist_ok=True)
        self.note(name).touch()

    def happens(self, name: str) -> bool:
        """Whether this is the first time, in any process; it is noted."""
        try:
            self.note(name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class NotingEngine(FakeEngine):
    """Notes which scenes go on from a checkpoint, are done and are exported; takes nobody's texts
    but a scene's own."""

    def __init__(self, spec: EngineSpec, accidents: Accidents) -> None:
        super().__init__(spec)
        self._accidents = accidents

    def new_gang(self, *, num_slots: int, is_frugal: bool = False) -> FakeGang:
        gang = super().new_gang(num_slots=num_slots, is_frugal=is_frugal)
        take_finished = gang.take_finished

        def noted() -> list[FakeScene]:
            finished = take_finished()
            if self._accidents.holds_exports:
                for scene in finished:
                    self._accidents.touch(f"done/{scene.key}-{os.getpid()}")
            return finished

        gang.take_finished = noted
        return gang

    def request(self, *, key: str, checkpoint: bytes | None = None, **rest: Any) -> Request:
        if self._accidents.has_texts:
            assert rest["prompt"].encode() in rest["text"]
        if checkpoint is not None:
            step = json.loads(checkpoint)["iterations"]
            self._accidents.touch(f"resumed/{key}-{step}")
        return super().request(key=key, checkpoint=checkpoint, **rest)

    def export(self, finished: FakeScene, metadata: Mapping[str, str]) -> Asset:
        if self._accidents.holds_exports:
            self._accidents.touch(f"exports/{finished.key}-{os.getpid()}")
            wait_for(self._accidents.note("released").exists, HELD_SECONDS)
        return super().export(finished, metadata)


def engine(spec: EngineSpec, accidents: Accidents) -> FakeEngine:
    """The factory: runs in each actor's process."""
    accidents.touch(f"actors/{os.getpid()}")
    _prepare_holding(accidents)
    _prepare_full_disk(accidents)
    _prepare_refusals(accidents)
    return NotingEngine(spec, accidents)


class FakeTexts:
    """Joins the texts of each prompt."""

    def encode(self, batch: Sequence[Sequence[str]]) -> list[bytes]:
        return ["|".join(texts).encode() for texts in batch]


def texts(spec: EngineSpec, accidents: Accidents) -> FakeTexts:
    """The factory of the encode stage: runs in the text actor's process."""
    accidents.touch(f"encoders/{os.getpid()}")
    _prepare_refusals(accidents)
    return FakeTexts()


def _prepare_holding(accidents: Accidents) -> None:
    create, link = Objects.create, os.link

    def held_create(self: Objects, name: str, data: bytes) -> bool:
        is_asset = name.startswith("assets/")
        if is_asset and accidents.hold == "before":
            _hold(accidents)
        if is_asset and accidents.hold == "during" and not self.is_local:
            accidents.happens("held")
        created = create(self, name, data)
        if is_asset and accidents.hold == "after":
            _hold(accidents)
        return created

    def held_link(source: Any, target: Any, **options: Any) -> None:
        if "/assets/" in str(target) and accidents.hold == "during":
            _hold(accidents)
        link(source, target, **options)

    Objects.create = held_create
    os.link = held_link


def _hold(accidents: Accidents) -> None:
    if accidents.happens("held"):
        wait_for(accidents.note("released").exists, HELD_SECONDS)


def _prepare_full_disk(accidents: Accidents) -> None:
    fsync = os.fsync

    def full_fsync(descriptor: int) -> None:
        is_full = accidents.note("full").exists()
        if is_full or any(accidents.happens(f"full-{k}") for k in range(accidents.num_full)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    os.fsync = full_fsync


def _prepare_refusals(accidents: Accidents) -> None:
    read, publish = Objects.read, Objects.publish

    def refuse(name: str) -> None:
        if not name.startswith("_embeddings/"):
            return
        if any(accidents.happens(f"refused-{k}") for k in range(accidents.num_refused)):
            raise OSError(errno.EIO, "503 slow down")

    def refusing_read(self: Objects, name: str) -> bytes | None:
        refuse(name)
        return read(self, name)

    def refusing_publish(self: Objects, name: str, data: bytes) -> str:
        refuse(name)
        return publish(self, name, data)

    Objects.read = refusing_read
    Objects.publish = refusing_publish


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true within that time."""
    end = time.monotonic() + seconds
    while not (is_true := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return is_true


if __name__ == "__main__":
    told = Accidents(**json.loads(os.environ[VARIABLE]))
    if sys.argv[1:2] == ["run"]:
        told.touch(f"drivers/{os.getpid()}")
    if told.is_driver_full:
        _prepare_full_disk(told)
    # Under its own name, so that actors import this file and get no copy of it.
    from tests.faults import inside

    sys.exit(
        main(
            engine_factory=partial(inside.engine, accidents=told),
            text_factory=partial(inside.texts, accidents=told) if told.has_texts else None,
        )
    )
