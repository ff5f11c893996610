"""Nothing of ours unpickles: whoever gives us a file must not be able to run code by it."""

import ast
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.guidance.loading import load_guidance

ROOT = Path(__file__).parents[1]
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
LOADERS = {"torch.load", "torch.save", "torch.jit.load", "pandas.read_pickle", "pd.read_pickle"}
SOURCES = sorted(
    path for package in ("engine", "pipeline") for path in (ROOT / package).rglob("*.py")
)


def offences(source: str) -> Iterator[str]:
    """What in a file unpickles, or may."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module.split(".")[0] in UNPICKLERS or whole & LOADERS:
                yield node.module
        elif isinstance(node, ast.Call):
            yield from _offences_of_call(node)


def _offences_of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    said = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name in LOADERS or name.endswith((".to_pickle", ".read_pickle")):
        yield name
    if said.get("allow_pickle", "False") != "False":
        yield f"{name} with pickles"
    if (
        said.get("weights_only", "True") != "True"
        or said.get("trust_remote_code", "False") != "False"
    ):
        yield f"{name} trusts what it reads"
    loads_weights = name.endswith(".from_pretrained") and "Tokenizer" not in name
    if loads_weights and "Scheduler" not in name and said.get("use_safetensors") != "True":
        yield f"{name} without use_safetensors=True"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from cloudpickle import loads",
        "from torch import load",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=is_ours)",
        "frame.to_pickle(path)",
        "Model.from_pretrained(path)",
        "Model.from_pretrained(path, use_safetensors=False)",
        "Model.from_pretrained(path, use_safetensors=True, trust_remote_code=True)",
    ],
)
def test_every_kind_of_offence_is_seen(source: str) -> None:
    assert list(offences(source))


def test_what_is_harmless_is_not_seen() -> None:
    source = "np.load(path)\nModel.from_pretrained(path, use_safetensors=True)\nimport json"
    assert list(offences(source)) == []


def test_the_sources_are_found() -> None:
    assert {"gang.py", "store.py", "texts.py"} <= {path.name for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_unpickles_nothing(path: Path) -> None:
    assert list(offences(path.read_text())) == []


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.sign,)  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize(
    ("weights", "pickled"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"),
        ("text_encoder/model.safetensors", "text_encoder/pytorch_model.bin"),
    ],
)
def test_pickled_weights_are_not_looked_at(
    tiny_weights: Path, tmp_path: Path, weights: str, pickled: str
) -> None:
    model, sign = tmp_path / "model", tmp_path / "sign"
    shutil.copytree(tiny_weights, model)
    (model / weights).unlink()
    (model / pickled).write_bytes(pickle.dumps(Bomb(sign)))
    with pytest.raises((OSError, ValueError)):
        load_guidance(model, device="cpu")
    assert not sign.exists()
    pickle.loads((model / pickled).read_bytes())
    assert sign.exists(), "the bomb would have gone off"
