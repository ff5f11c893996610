"""Correctness, then speed, of kernels on this machine's GPU; or what a whole gang takes.

    python -m engine.bench hash_encode --out DIR
    python -m engine.bench step --model if --out DIR          # time, part by part: `step.py`
    python -m engine.bench assets --model if --out DIR        # whole assets: `assets.py`
    python -m engine.bench memory --model if --out DIR        # of a slot: `memory.py`
    python -m engine.bench refills --out DIR                  # memory over scenes: `refills.py`
    python -m engine.bench picture DIR/step.jsonl --out step.svg

First the op's gate; where it does not hold there is one line and exit code 1, and no speed. Then
one row a case, on the screen and in DIR/<op>.jsonl. Without a GPU Triton's interpreter runs all of
it at a tiny size, to try the code: no speeds. `field` has its references alone there.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import torch

from engine import kernels
from engine.bench import flags, ops, rows
from engine.bench.gate import GateError
from engine.bench.rows import Row
from engine.bench.timing import copy_rate, median_ms
from engine.hardware import usual_device

COMMANDS = ("step", "assets", "memory", "refills", "picture")
"""What is no op's, each a module with a `main`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 measured, 1 the gate did not hold, 2 a mistake of the user's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return import_module(f"engine.bench.{words[0]}").main(words[1:])
    parser = flags.parser("")
    others = f"or {', '.join(COMMANDS)}, which have a --help of their own"
    parser.add_argument("op", choices=sorted(ops.OPS), help=others)
    chosen = parser.parse_args(words)
    device = usual_device()
    is_plain = device.type == "cpu" and chosen.op in ops.PLAIN_ON_CPU
    if not is_plain and not kernels.has_triton():
        parser.error("kernels need Triton: pip install 'dreambatch[kernels]'")
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
        way = "references alone" if is_plain else "Triton's interpreter"
        print(f"no CUDA device: tiny sizes in {way}; these are no speeds")
    try:
        found = measured(chosen.op, device, chosen.commit or rows.commit())
    except GateError as error:
        print(f"{chosen.op}: the gate does not hold, so nothing is timed: {error}", file=sys.stderr)
        return 1
    rows.keep(chosen.out / f"{chosen.op}.jsonl", found)
    return 0


def measured(name: str, device: torch.device, commit: str) -> list[Row]:
    """The op's rows, printed as they come. Raises GateError before anything is timed."""
    op, is_tiny = ops.load(name), device.type == "cpu"
    errors = op.check(device, is_tiny=is_tiny)
    for what, error in errors.items():
        print(f"gate: {what} {error:.1e}")
    rate = None if is_tiny else copy_rate(device)
    if rate is not None:
        print(f"copy: {1e-12 * rate:.2f} TB/s on {rows.device_name(device)}")
    found = []
    for case in op.cases(device, is_tiny=is_tiny):
        row = _row(name, case, device, commit, rate, errors)
        print(_told(row), flush=True)
        found.append(row)
    return found


def _row(
    name: str,
    case: ops.Case,
    device: torch.device,
    commit: str,
    rate: float | None,
    errors: dict[str, float],
) -> Row:
    if rate is None:
        case.run()
        milliseconds = samples = share = None
    else:
        milliseconds = median_ms(case.run)
        samples = 1e3 * case.num_samples / milliseconds
        share = 1e3 * case.num_bytes / milliseconds / rate
    return Row(
        op=name,
        part=case.part,
        setting=case.setting,
        device=rows.device_name(device),
        versions=rows.versions(),
        commit=commit,
        milliseconds=milliseconds,
        samples_per_second=samples,
        num_bytes=case.num_bytes,
        num_flops=case.num_flops,
        share_of_copy_rate=share,
        copy_rate=rate,
        errors=errors,
    )


def _told(row: Row) -> str:
    what = f"{row.op} {row.part:<20} {row.setting:<32}"
    if row.milliseconds is None or row.samples_per_second is None:
        return f"{what} ran"
    return (
        f"{what} {row.milliseconds:8.3f} ms {1e-6 * row.samples_per_second:8.0f} M samples/s "
        f"{row.share_of_copy_rate:6.1%} of the copy rate"
    )


if __name__ == "__main__":
    sys.exit(main())
