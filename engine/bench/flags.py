"""What the bench's commands are asked in the same words, and how a row says what was on."""

import argparse

import torch

from engine import kernels
from engine.directories import to_write


def parser(command: str) -> argparse.ArgumentParser:
    """Of one command; each keeps its rows somewhere, under the name of a tree."""
    found = argparse.ArgumentParser(prog=f"python -m engine.bench {command}".strip())
    found.add_argument("--out", type=to_write, required=True, help="directory for the rows")
    found.add_argument("--commit", help="what to call the tree; by default git is asked")
    return found


def add_switches(command: argparse.ArgumentParser, *, compiles: bool = True) -> None:
    """How steps are launched, and whether networks are compiled if the command ever does so."""
    command.add_argument("--launched", action="store_true", help="do not record CUDA graphs")
    if compiles:
        command.add_argument("--eager", action="store_true", help="do not compile the networks")


def numbers(text: str, besides: str = "") -> tuple[int, ...]:
    """What `--slots` gives; `besides` is what else the command takes there, for the error.

    Raises ValueError.
    """
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--slots: expected 1,2,4 or so{besides}, got {text!r}") from None


def switched_on(
    device: torch.device, *, compiled: bool = False, captured: bool, **others: bool
) -> list[str]:
    """The names of what is on, the device's kernels among them, as a row's setting has them."""
    on = {"compiled": compiled, "captured": captured, "kernels": kernels.is_fused_on(device)}
    return [name for name, is_on in (on | others).items() if is_on]
