"""Recipes by name or out of a file, and how one is shown.

A file is JSON on a path or an fsspec URL whose name ends in `.json`: a recipe, as
`dreambatch recipes show NAME --json` prints it, or the `run.json` of an earlier run, of which the
run's default recipe is taken.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from engine import recipes
from engine.recipe import Recipe
from pipeline.errors import UserError
from pipeline.storage import places


def find(name: str) -> Recipe:
    """The recipe of that name, or in that file. UserError says what is wrong with either."""
    if name.endswith(".json"):
        return _load(name)
    try:
        return recipes.get(name)
    except ValueError as error:
        is_file = "/" in name or os.path.isfile(name)
        odd = f"recipe {name}: expected a file of JSON whose name ends in .json"
        raise UserError(odd if is_file else str(error)) from None


def sheet(recipe: Recipe) -> str:
    """Every setting by its path, for people."""
    rows = list(_rows(recipe.to_dict()))
    width = max(len(path) for path, _ in rows)
    return "\n".join(f"{path:<{width}}  {value}" for path, value in rows)


def _rows(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)


def _load(url: str) -> Recipe:
    fs, path = places.connect(url)
    try:
        document = json.loads(fs.cat_file(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"recipe {url}: expected JSON; {error}") from None
    except OSError as error:
        raise UserError(f"recipe {url}: {places.reason(error)}") from error
    try:
        return Recipe.from_dict(_chosen(document))
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"recipe {url}: {error}") from None


def _chosen(document: Any) -> Mapping[str, Any]:
    """The recipe of a document; ValueError where it holds none."""
    if not isinstance(document, Mapping):
        raise ValueError("expected an object with a recipe's settings")
    if "recipes" not in document:
        return document
    stored, details = document["recipes"], document.get("details", {})
    if not isinstance(stored, Mapping) or not isinstance(details, Mapping):
        raise ValueError("expected a run's `recipes` and `details`")
    name = details.get("recipe")
    if name not in stored:
        raise ValueError(f"expected its default recipe {name!r} among {', '.join(stored)}")
    return stored[name]
