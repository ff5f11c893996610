"""Compiles kernels for a Hopper GPU, which needs none: Triton brings its whole compiler.

A test process interprets kernels, so this is for one of its own (`compiled`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

Arguments = Mapping[str, Any]
"""What each argument is: "*fp16" a pointer to aligned memory, "i32" an integer, "i32 % 16" one that
16 divides, anything else a constant. There may be more than a kernel asks for, `num_warps` and
`num_stages` among it."""


def compiled(
    kernels: Sequence[tuple[str, Arguments]], cache: Path, stage: Literal["ptx", "sass"] = "ptx"
) -> list[str]:
    """PTX or machine code of kernels, each `module:name` with its arguments; fails with the
    compiler's words."""
    return compiling("tests.engine.kernels.hopper", json.dumps([stage, kernels]), cache)


def compiling(module: str, given: str, cache: Path) -> Any:
    """What a module that compiles kernels prints last, as JSON; run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=given,
        capture_output=True,
        text=True,
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def target() -> Any:
    """The device that kernels are compiled for."""
    from triton.backends.compiler import GPUTarget

    return GPUTarget("cuda", 90, 32)


def _text(stage: str, name: str, arguments: Arguments) -> str:
    import triton
    from triton.compiler import ASTSource

    module, kernel_name = name.split(":")
    kernel = getattr(import_module(module), kernel_name)
    signature, constants, attributes = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        value = arguments[name]
        several = isinstance(value, list)
        kinds = []
        for k, one in enumerate(value if several else [value]):
            path = (place, k) if several else (place,)
            is_constant = not isinstance(one, str)
            kinds.append("constexpr" if is_constant else one.split(" ")[0])
            if is_constant:
                constants[path] = one
            elif one.startswith("*") or one.endswith("% 16"):
                attributes[path] = [["tt.divisibility", 16]]
        signature[name] = tuple(kinds) if several else kinds[0]
    source = ASTSource(kernel, signature, constants, attributes)
    options = {"num_warps": arguments.get("num_warps", 4)}
    options |= {name: arguments[name] for name in ("num_stages",) if name in arguments}
    # To machine code, even if what is looked at is the step before.
    found = triton.compile(source, target=target(), options=options).asm
    return found["ptx"] if stage == "ptx" else _sass(found["cubin"])


def _sass(cubin: bytes) -> str:
    """Not Triton's own, which loses instructions behind the first 64 KiB."""
    from triton import knobs

    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.nvdisasm.path, "-c", file.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    stage, kernels = json.load(sys.stdin)
    print(json.dumps([_text(stage, name, arguments) for name, arguments in kernels]))
