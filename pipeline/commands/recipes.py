"""`dreambatch recipes`."""

import json
from dataclasses import dataclass
from typing import Literal

import tyro

from pipeline import exit_codes
from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the named recipes, or show all settings of one."""

    action: tyro.conf.Positional[Literal["list", "show"]] = "list"
    """What to do."""
    recipe: tyro.conf.Positional[str] = ""
    """With show: name of a recipe, or a .json file with one."""
    json: bool = False
    """With show: as JSON, which `--recipe` reads once it is in a file."""

    def answer(self) -> int:
        """See `pipeline.commands`."""
        print(self._sheet() if self.action == "show" else self._list())
        return exit_codes.COMPLETE

    def _list(self) -> str:
        if self.recipe or self.json:
            raise UserError("recipes list: expected nothing else; `recipes show NAME` shows one")
        from engine import recipes

        names = recipes.names()
        width = max(map(len, names))
        return "\n".join(f"{name:<{width}}  {recipes.get(name).summary}" for name in names)

    def _sheet(self) -> str:
        if not self.recipe:
            raise UserError("recipes show: expected the name of a recipe; `recipes` lists them")
        from pipeline import recipe_files

        recipe = recipe_files.find(self.recipe)
        return json.dumps(recipe.to_dict(), indent=2) if self.json else recipe_files.sheet(recipe)
