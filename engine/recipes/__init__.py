"""Named recipes: functions that return a whole `Recipe`. Free of torch."""

import difflib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.recipe import Recipe
from engine.recipes.dreamfusion import dreamfusion_if, dreamfusion_paper, dreamfusion_sd
from engine.recipes.fast import dreamfusion_if_fast, dreamfusion_sd_fast, primitives_fast
from engine.recipes.primitives import primitives, primitives_cpu, smoke
from engine.recipes.threestudio import threestudio_if, threestudio_sd

_RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__: function
    for function in (
        primitives,
        primitives_fast,
        primitives_cpu,
        smoke,
        dreamfusion_paper,
        dreamfusion_if,
        dreamfusion_if_fast,
        dreamfusion_sd,
        dreamfusion_sd_fast,
        threestudio_if,
        threestudio_sd,
    )
}


def names() -> list[str]:
    """The known recipes."""
    return list(_RECIPES)


def find(name: str) -> Recipe:
    """The recipe of that name, or in the file of JSON of that name.

    Raises ValueError where there is neither.
    """
    if not name.endswith(".json"):
        return get(name)
    try:
        return Recipe.from_dict(json.loads(Path(name).read_text()))
    except OSError as error:
        raise ValueError(f"recipe {name}: {error.strerror}; give a recipe's file") from error
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"recipe {name}: {error}; expected what `to_dict` wrote") from error


def get(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError with the known names otherwise."""
    if name in _RECIPES:
        return _RECIPES[name]()
    close = difflib.get_close_matches(name, _RECIPES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{unknown(name, _RECIPES)}{hint}")


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is none of the known recipes."""
    return f"unknown recipe {name!r}: expected one of {', '.join(known)}"
