"""The parts of a recipe, a file each: frozen dataclasses that check themselves."""
