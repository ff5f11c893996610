"""The texts of a dataset card that are the same for all; `{...}` is filled in."""

INTRODUCTION = """\
{assets:,} 3D assets of {prompts:,} prompts, made by score distillation (DreamFusion, arXiv
2209.14988) against a frozen text-to-image diffusion model. Each has posed views with depth and
normals, a mesh, a turntable and the optimised field, with everything that decided it.
"""

READING = """\
## Reading it

In the directory of the dataset, with pandas:

```python
import pandas as pd

catalog = pd.read_parquet("catalog")  # one row an asset, without the heavy columns
row = catalog[catalog.mesh_status == "ok"].iloc[0]
asset = pd.read_parquet(row.asset_file, filters=[("asset_id", "==", row.asset_id)]).iloc[0]
open("asset.glb", "wb").write(asset.mesh_glb)  # drop it on any glTF viewer
open("asset.webp", "wb").write(asset.turntable["bytes"])
```

With DuckDB:

```python
import duckdb

duckdb.sql("select recipe, count(*), avg(mesh_faces) from 'catalog/*.parquet' group by 1").show()
duckdb.sql("set variable files = (select list(distinct asset_file) from 'catalog/*.parquet')")
duckdb.sql('''
    select prompt, len(views) as views, octet_length(mesh_glb) as bytes
    from read_parquet(getvariable('files'), union_by_name = true) where mesh_status = 'ok'
''').show()
```

With Hugging Face `datasets`, which shows the pictures; on the hub, its name is the directory:

```python
from pathlib import Path

from datasets import load_dataset

assets = load_dataset(str(Path.cwd()), "assets", split="train")
view = assets[0]["views"][0]
view["image"].save("view.png")  # RGBA; view["depth"] and view["normal"] are pictures, too
```

As folders for nerfstudio, instant-ngp and Blender, or as WebDataset:

    dreambatch export --output . --to folders --where "mesh_faces > 1000"
    dreambatch export --output . --to shards --all --as webdataset
"""

PARTITIONED = """
The files under `packed/` lie by the column {column}, which they leave out: `datasets` does not see
it there, the catalog has it.
"""

LAYOUT = """\
## What is where

    catalog/                                the scalars of all assets, and the file of each
    assets/shard=x<hh>/<asset_id>.parquet   one asset
    packed/*/*.parquet                      many assets a file; the catalog's asset_file counts

`views` is a list of `image` (RGBA, straight alpha), `depth` (z-depth of the surface, values of a
16-bit PNG times `depth_scale`; 0 is nothing), `normal` (world space, `rgb / 127.5 - 1`; 128 is
nothing) and the camera: `c2w` is the OpenGL camera-to-world matrix, row-major, the world has +Z up
and the front to +X, pixel centres are at +0.5. `mesh_glb` is +Y up with its front to +Z, null where
`mesh_status` is `empty`. `asset_id` is a hash of prompt, negative prompt, seed, recipe and
diffusion weights. Lengths are in scene units, times in seconds.
"""
