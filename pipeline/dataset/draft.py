"""The next snapshot while it is being made: the newest one, with packed files added and dropped."""

import time
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.dataset.packing import Member, Pack
from pipeline.dataset.snapshots import Index, PackedFile, Snapshot, Snapshots, to_bytes, to_hex

MAX_SECONDS = 12 * 3600.0
"""A packed file that no snapshot names is garbage after a day; before that it must be published."""


class Superseded(Exception):
    """The snapshot that a draft was made from is not the newest any more."""


class Draft:
    """What the next snapshot adds to one, or to none."""

    def __init__(
        self, snapshots: Snapshots, base: Snapshot | None, partition: pa.Field | None
    ) -> None:
        self._snapshots = snapshots
        self._partition = partition
        self.base = base
        self.index = Index() if base is None else snapshots.index(base)
        self._begin()

    @property
    def files(self) -> list[PackedFile]:
        """The packed files that the next snapshot will name."""
        kept = [] if self.base is None else self.base.files
        added = [pack.file for pack in self.added if pack.file]
        return [*(file for file in kept if file not in self._dropped), *added]

    def members(self, file: PackedFile) -> list[Member]:
        """The assets of a packed file of the base."""
        assert self.base is not None
        chosen = self.index.files == self.base.files.index(file)
        places = zip(to_hex(self.index.ids[chosen]), self.index.row_groups[chosen], strict=True)
        size = file.bytes // file.rows
        return [
            Member(asset_id=asset_id, name=file.name, row_group=int(number), num_bytes=size)
            for asset_id, number in places
        ]

    def replace(self, dropped: Iterable[PackedFile], pack: Pack) -> None:
        """Add a packed file, which holds all that the dropped ones do."""
        self.added.append(pack)
        self._dropped.update(dropped)

    def age_seconds(self) -> float:
        """Time since the draft was begun, or published."""
        return time.time() - self._since

    def publish(self) -> Snapshot:
        """Publish the draft, and begin the next one. Superseded if another snapshot was first."""
        if self.age_seconds() > MAX_SECONDS:
            raise Superseded
        number = self.base.number + 1 if self.base else 1
        index, files = self._next_index(), self.files
        assert len(index) == sum(file.rows for file in files), "an asset is packed twice"
        snapshot = self._snapshots.publish(number, files, index, partition=self._partition)
        if snapshot is None:
            raise Superseded
        self.base, self.index = snapshot, index
        self._begin()
        return snapshot

    def _begin(self) -> None:
        self._since = time.time()
        self._dropped: set[PackedFile] = set()
        self.added: list[Pack] = []

    def _next_index(self) -> Index:
        base = self.base.files if self.base else ()
        numbers = {file: number for number, file in enumerate(self.files)}
        renumbered = np.array([numbers.get(file, -1) for file in base], np.int32)
        files = renumbered[self.index.files]
        kept = files >= 0
        parts = [(self.index.ids[kept], files[kept], self.index.row_groups[kept])]
        for pack in self.added:
            if pack.file is not None:
                file = np.full(len(pack.asset_ids), numbers[pack.file], np.int32)
                parts.append((to_bytes(pack.asset_ids), file, np.array(pack.row_groups, np.int32)))
        ids, files, row_groups = map(np.concatenate, zip(*parts, strict=True))
        return Index.sorted(ids=ids, files=files, row_groups=row_groups)
