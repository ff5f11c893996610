"""The files of a gallery's directory: what is written in which order, and what may be deleted.

    1. media     each file whole or absent; one that is there is never written again
    2. code, data  under names that hold a digest of their bytes
    3. index.html  names the code and the data: the moment a new page counts
    4. code and data that no page names any more are deleted, if they are older than an hour: a
                   browser may have opened the page before, and another call may be at work

A kill leaves the page as it was before 3, or the new one, and at worst some files that the next
call uses or deletes.
"""

import os
import re
import time
from collections.abc import Collection
from importlib import resources
from pathlib import Path

from pipeline.errors import UserError
from pipeline.gallery.scripts import digest
from pipeline.storage import places
from pipeline.storage.objects import Objects

INDEX = "index.html"
_MARK = '<meta name="generator" content="dreambatch gallery">'
_DATA = re.compile(r"(index|rows|unmade)-[0-9a-f]{16}\.js")
_CODE = re.compile(r"[0-9a-f]{16}")
_GRACE_SECONDS = 3600.0
_SUFFIXES = (".css", ".js", ".svg")


def open_site(url: str) -> Objects:
    """The directory of a gallery. UserError where a file lies, or an `index.html` of somebody
    else's."""
    fs, root = places.connect(url)
    objects = Objects(fs, root, url=url)
    if objects.is_local and any(map(os.path.isfile, (root, *Path(root).parents))):
        raise UserError(f"cannot use {url}: it is no directory, name one")
    try:
        page = objects.read(INDEX)
    except OSError as error:
        raise places.one_line(f"cannot use {url}", error) from error
    if page is not None and _MARK.encode() not in page:
        raise UserError(f"{url} holds an index.html that is no gallery: name another directory")
    return objects


def write_data(site: Objects, kind: str, data: bytes) -> str:
    """Write a script of data; returns its name."""
    name = f"data/{kind}-{digest(data)}.js"
    site.publish(name, data)
    return name


def publish(site: Objects, *, index: str, kept: Collection[str]) -> str:
    """Make `index` and the data of `kept` the page; returns its address."""
    files = _code()
    version = digest(b"".join(name.encode() + data for name, data in sorted(files.items())))
    for name, data in files.items():
        site.publish(f"site/{version}/{name}", data)
    page = _template().replace("{{site}}", f"site/{version}").replace("{{index}}", index)
    assert _MARK in page
    address = site.publish(INDEX, page.encode())
    _clean(site, {index, *kept}, version)
    return address


def _code() -> dict[str, bytes]:
    """The page's own code by file name."""
    folder = resources.files("pipeline.gallery") / "site"
    return {x.name: x.read_bytes() for x in folder.iterdir() if x.name.endswith(_SUFFIXES)}


def _template() -> str:
    folder = resources.files("pipeline.gallery") / "site"
    return (folder / INDEX).read_text(encoding="utf-8")


def _clean(site: Objects, kept: Collection[str], version: str) -> None:
    """Delete data and code of earlier pages."""
    before = time.time() - _GRACE_SECONDS
    for name, entry in site.entries("data").items():
        is_ours = _DATA.fullmatch(name) is not None
        if is_ours and f"data/{name}" not in kept and entry.modified < before:
            site.remove(f"data/{name}")
    for name in site.names("site"):
        if _CODE.fullmatch(name) is None or name == version:
            continue
        for file, entry in site.entries(f"site/{name}").items():
            if entry.modified < before:
                site.remove(f"site/{name}/{file}")
        site.remove_directory(f"site/{name}")
