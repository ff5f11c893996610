"""`dreambatch export`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from pipeline import exit_codes
from pipeline.plain_text import printable


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write assets to this machine as folders that nerfstudio and instant-ngp read."""

    output: str
    """Directory of the dataset."""
    to: str
    """Directory of this machine; what is there already is not written again."""
    asset: tuple[str, ...] = ()
    """Assets, each by its asset_id, its prompt_id, or first digits of its asset_id."""
    all: bool = False
    """All assets."""
    where: str | None = None
    """Those for which an SQL condition over the catalog holds: "mesh_faces > 1000"."""
    layout: Annotated[Literal["folders", "webdataset"], tyro.conf.arg(name="as")] = "folders"
    """A folder for each, or WebDataset: tar shards of many."""
    format: tuple[str, ...] = ()
    """More formats in each folder: obj, ply, mp4, textureless."""
    shard_mb: int = 500
    """Size of a shard at most."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        from pipeline.export import export

        request = export.Request(
            directory=self.to,
            names=self.asset,
            is_all=self.all,
            condition=self.where,
            layout=self.layout,
            formats=self.format,
            shard_mb=self.shard_mb,
        )
        done = export.export(self.output, request, say=print)
        print(printable(export.render(done, self.to)))
        return exit_codes.QUARANTINE if done.num_damaged else exit_codes.COMPLETE
