"""Directories that commands write into."""

import os
from argparse import ArgumentTypeError
from pathlib import Path


def to_write(text: str) -> Path:
    """The directory of a flag's value, which is there or can be made: known before hours of work.

    Nothing is made yet. Raises ArgumentTypeError, for argparse to tell in one line.
    """
    path = Path(text)
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        wrong = f"{there} is a file"
    elif not os.access(there, os.W_OK):
        wrong = f"{there} cannot be written"
    else:
        return path
    raise ArgumentTypeError(f"expected a directory to write into, got {text!r}: {wrong}")
