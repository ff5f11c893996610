"""An object store in memory: `fsspec` to the real `Objects` and `Store`, with its faults.

A write with `mode="create"` is refused if the name is taken, as a bucket's conditional put is. A
request for an asset or a checkpoint may be refused before it is done (503), and the answer to such
a write may be lost after it; what the driver asks for is little, and is always answered.

A million assets would fill the memory that is to be measured, so that one is kept as the two ids
of which all its bytes follow (`asset_bytes`).
"""

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.spec import AbstractFileSystem

_ID = 32
_SHARD = "/assets/shard=x"
_PAGE = 1000
"""Names that one request lists."""


class Refused(OSError):
    """The store did not do what was asked: 503."""


class Unanswered(OSError):
    """The store did what was asked, and nobody heard of it."""


class Bucket(AbstractFileSystem):
    """Objects by path. `counts` has the requests by operation, and the refused ones."""

    protocol = "simulated"
    cachable = False

    def __init__(
        self,
        *,
        is_refused: Callable[[], bool] = lambda: False,
        is_unanswered: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._lock = Lock()
        """Several threads list at a time."""
        self._is_refused = is_refused
        self._is_unanswered = is_unanswered
        self._assets: dict[bytes, bytes] = {}
        self._shards: set[tuple[str, int]] = set()
        """Where assets are: root, and first byte of their ids."""
        self._objects: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        """By directory and name."""

    @property
    def num_assets(self) -> int:
        """Assets that lie in the store."""
        return len(self._assets)

    def has_asset(self, asset_id: str) -> bool:
        """Whether an asset is committed; no request."""
        return bytes.fromhex(asset_id) in self._assets

    def contents(self, directory: str) -> Iterator[bytes]:
        """The objects in a directory, which is no shard; no request."""
        return iter(self._objects[directory].values())

    def pipe_file(
        self,
        path: str,
        value: bytes,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """One request: the whole object or nothing of it."""
        self._ask("create" if mode == "create" else "put", path)
        if mode == "create" and self._has(path):
            self._count("create, name taken")
            raise FileExistsError(path)
        asset_id = _asset_of(path)
        if asset_id is None:
            directory, _, name = path.rpartition("/")
            self._objects[directory][name] = bytes(value)
        else:
            assert mode == "create", "an asset is written once"
            self._assets[asset_id] = _attempt_of(value)
            self._shards.add((path.partition(_SHARD)[0], asset_id[0]))
        if _is_an_actors(path) and self._is_unanswered():
            self._count("answer lost")
            raise Unanswered(f"no answer for {path}")

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """One request."""
        self._ask("get", path)
        return self._bytes(path)[start:end]

    def _open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        assert mode == "rb", "objects are written whole"
        self._ask("get", path)
        return io.BytesIO(self._bytes(path))

    def rm_file(self, path: str) -> None:
        """One request; also for what is not there."""
        self._ask("delete", path)
        directory, _, name = path.rpartition("/")
        if self._objects[directory].pop(name, None) is None:
            raise FileNotFoundError(path)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """One request: whether there is an object, or one below the path."""
        self._count("list")
        directory = path.rstrip("/")
        return self._has(path) or bool(self._below(directory) or any(self._sizes(directory)))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """One request for each thousand names, of which there is one at least."""
        directory = path.rstrip("/")
        entries = [
            *({"name": name, "size": 0, "type": "directory"} for name in self._below(directory)),
            *(
                {"name": f"{directory}/{name}", "size": size, "type": "file", "mtime": 0.0}
                for name, size in self._sizes(directory)
            ),
        ]
        self._count("list", max(1, -(-len(entries) // _PAGE)))
        if not entries:
            raise FileNotFoundError(path)
        return entries if detail else [entry["name"] for entry in entries]

    def _below(self, directory: str) -> list[str]:
        """The directories right under one."""
        places = [name for name, objects in self._objects.items() if objects]
        places += [f"{root}{_SHARD}{first:02x}" for root, first in self._shards]
        start = f"{directory}/"
        return sorted(
            {
                start + place.removeprefix(start).partition("/")[0]
                for place in places
                if place.startswith(start)
            }
        )

    def _sizes(self, directory: str) -> Iterator[tuple[str, int]]:
        """Names and sizes of the objects in a directory."""
        for name, data in self._objects.get(directory, {}).items():
            yield name, len(data)
        if _SHARD in directory:
            first = int(directory.partition(_SHARD)[2], 16)
            for asset_id in self._assets:
                if asset_id[0] == first:
                    yield f"{asset_id.hex()}.parquet", len(_TEMPLATE)

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def _ask(self, operation: str, path: str) -> None:
        self._count(operation)
        if _is_an_actors(path) and self._is_refused():
            self._count("refused")
            raise Refused(f"503 to a {operation}")

    def _has(self, path: str) -> bool:
        asset_id = _asset_of(path)
        if asset_id is not None:
            return asset_id in self._assets
        directory, _, name = path.rpartition("/")
        return name in self._objects.get(directory, {})

    def _bytes(self, path: str) -> bytes:
        asset_id = _asset_of(path)
        if asset_id is None:
            directory, _, name = path.rpartition("/")
            data = self._objects.get(directory, {}).get(name)
        else:
            attempt_id = self._assets.get(asset_id)
            data = attempt_id and asset_bytes(asset_id.hex(), attempt_id.hex())
        if data is None:
            raise FileNotFoundError(path)
        return data


def asset_bytes(asset_id: str, attempt_id: str) -> bytes:
    """The Parquet file of a simulated asset: who it is and who made it, and nothing to see."""
    return _TEMPLATE.replace(_ASSET, asset_id.encode()).replace(_ATTEMPT, attempt_id.encode())


def _is_an_actors(path: str) -> bool:
    return "/assets/" in path or "/_checkpoints/" in path


def _asset_of(path: str) -> bytes | None:
    """The id in the path of an asset, None for another object."""
    if _SHARD not in path or not path.endswith(".parquet"):
        return None
    return bytes.fromhex(path[-_ID - len(".parquet") : -len(".parquet")])


def _attempt_of(data: bytes) -> bytes:
    start = _TEMPLATE.index(_ATTEMPT)
    return bytes.fromhex(data[start : start + _ID].decode())


def _template() -> bytes:
    """Plain pages without statistics and compression, so that each id stands in it once."""
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({"asset_id": [_ASSET.decode()], "attempt_id": [_ATTEMPT.decode()]}),
        buffer,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    data = buffer.getvalue()
    assert data.count(_ASSET) == data.count(_ATTEMPT) == 1, "an id stands more than once"
    return data


_ASSET, _ATTEMPT = b"0asset0asset0asset0asset0asset00", b"0attempt0attempt0attempt0attempt"
_TEMPLATE = _template()
