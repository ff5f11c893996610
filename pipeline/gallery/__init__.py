"""A static page of a dataset: every asset turning, searchable, and in 3D when clicked.

    index.html                         the only file that is ever replaced; written last
    site/<digest>/*.js, *.css          the page's own code, one directory for each version of it
    data/index-<digest>.js             counts, columns, which chunks there are, the newest assets
    data/rows-<digest>.js              the scalars of up to `rows.CHUNK` more, column by column
    data/unmade-<digest>.js            quarantined and rejected prompts with their reasons
    media/x<hh>/<asset_id>.webp        the turntable as the dataset has it
    media/x<hh>/<asset_id>.png         the thumbnail, for who wants nothing to move
    media/x<hh>/<asset_id>.js          the mesh in base64; last, so it says that all are there

Data are scripts and not JSON, because a page that was opened as a file may load scripts and
pictures, but fetch nothing. No name is ever given to other bytes, so an old page and a new one can
be read side by side, and a kill in the middle leaves the old page whole. Assets never change: the
next call writes only the media of new ones.
"""

from pipeline.gallery.building import Built, build, render

__all__ = ["Built", "build", "render"]
