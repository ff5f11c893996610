"""Where a model comes from: its name, and the directory in which this machine has it.

    primitives                      comes with the package
    a directory                     is used where it lies
    org/name, org/name@revision     a repository of the Hugging Face hub, kept in the hub's cache
    gs://bucket/model               or any other fsspec URL, mirrored to a cache on this machine

What a name may lead to is checked before anything is loaded: only safetensors, all files there and
parts that fit together (`engine.guidance.files`; of a CLIP, which is found in the same way but has
no name of its own, `engine.evaluation.clip_files`). Every mistake is one line that says what to do.
The hub's own settings hold: HF_HUB_OFFLINE (nothing is asked of the network), HF_HOME, HF_TOKEN.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from fsspec.spec import AbstractFileSystem

from engine.evaluation import clip_files
from engine.guidance import files
from pipeline.errors import UserError
from pipeline.storage import places

CACHE_VARIABLE = "DREAMBATCH_CACHE"
"""Environment variable with the directory of mirrored models; default: ~/.cache/dreambatch."""

_HUB_ID = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_STAMPS = ("md5Hash", "ETag", "etag", "mtime")
"""By which of an object's properties a changed one is told, in order."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model on this machine. By `name` every machine finds the same one: hub repositories with
    the commit, directories as absolute paths."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Sort:
    """A sort of models: what messages call one, the files that are of use by patterns of their
    names, and the check, which raises ValueError; a directory of it surely has the file `first`."""

    noun: str
    patterns: tuple[str, ...]
    wanted: Callable[[str], bool]
    check: Callable[[Path], None]
    first: str


DIFFUSION = Sort(
    noun="guidance",
    patterns=files.PATTERNS,
    wanted=files.wanted,
    check=files.check,
    first="model_index.json",
)
CLIP = Sort(
    noun="judge",
    patterns=clip_files.PATTERNS,
    wanted=clip_files.wanted,
    check=clip_files.check,
    first="config.json",
)


def find(name: str, sort: Sort = DIFFUSION) -> Model:
    """The model of that name, fetched if it is elsewhere. UserError in one line if it cannot be."""
    if name == files.PRIMITIVES and sort is DIFFUSION:
        model = Model(name=name, path=files.resolve(name))
    elif "://" in name:
        model = Model(name=name, path=_mirrored(name, sort))
    elif (match := _HUB_ID.fullmatch(name)) and not Path(name).exists():
        model = _from_hub(match["repo"], match["revision"], sort)
    else:
        model = Model(name=str(Path(name).absolute()), path=Path(name))
    _check(model.path, sort)
    return model


def _check(path: Path, sort: Sort) -> None:
    try:
        sort.check(path)
    except ValueError as error:
        raise UserError(str(error)) from None


def _from_hub(repo: str, revision: str | None, sort: Sort) -> Model:
    import huggingface_hub
    from huggingface_hub import errors

    name = f"{sort.noun} {repo if revision is None else f'{repo}@{revision}'!r}"
    page = f"https://huggingface.co/{repo}"
    elsewhere = "name a mirror of it, a directory or a URL with its files"
    try:
        found = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(sort.patterns)
        )
    except errors.GatedRepoError:
        raise UserError(
            f"{name}: its licence has to be accepted; do so at {page}, then set HF_TOKEN or log in "
            "with `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{name}: no such revision; see {page}/commits/main") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{name}: no directory here and no repository of the hub that you may read (Stable "
            f"Diffusion 2.x left it in 2025); {elsewhere}, or set HF_TOKEN for a private one"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise UserError(
            f"{name}: not in the hub's cache of this machine, and the hub is out of reach or "
            f"HF_HUB_OFFLINE is set; fetch it with a network (`hf download`), or {elsewhere}"
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UserError(f"{name}: {places.reason(error)}; try again, or {elsewhere}") from error
    path = Path(str(found))
    commit = path.name if _COMMIT.fullmatch(path.name) else revision
    return Model(name=repo if commit is None else f"{repo}@{commit}", path=path)


def _mirrored(url: str, sort: Sort) -> Path:
    """The directory of this machine's copy of what is at `url` now."""
    fs, root = places.connect(url)
    if places.is_local(fs):
        return Path(root)
    root = root.rstrip("/")
    try:
        found: Any = fs.find(root, detail=True)
    except Exception as error:
        if places.is_final(error):
            raise UserError(f"{sort.noun} {url}: {places.reason(error)}") from error
        raise
    objects = {
        name: info
        for path, info in sorted(found.items())
        if sort.wanted(name := path.removeprefix(root).lstrip("/"))
    }
    if not objects:
        raise UserError(
            f"{sort.noun} {url}: nothing of a model is there; name the directory that "
            f"holds its {sort.first}"
        )
    # A card that is edited is no other model.
    state = [
        [name, info.get("size"), _stamp(info)]
        for name, info in objects.items()
        if name != files.CARD
    ]
    key = hashlib.sha256(json.dumps([url.rstrip("/"), state], default=str).encode()).hexdigest()
    path = _cache() / "models" / key[:32]
    with _locked(path.with_suffix(".lock")):
        if not path.is_dir():
            _copy(fs, root, list(objects), path, sort)
    return path


def _copy(fs: AbstractFileSystem, root: str, names: list[str], path: Path, sort: Sort) -> None:
    """All or nothing: the directory appears when it is complete."""
    partial = path.with_name(f"{path.name}-{uuid4().hex}.partial")
    try:
        for name in names:
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(f"{root}/{name}", str(target))
        _check(partial, sort)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _stamp(info: dict[str, object]) -> object:
    return next((info[name] for name in _STAMPS if info.get(name)), None)


def _cache() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "dreambatch")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process of this machine fetch a model while the others wait for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    except OSError as error:
        raise UserError(
            f"cannot keep models in {path.parent}: {places.reason(error)}; name a directory that "
            f"can be written to by {CACHE_VARIABLE}"
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
