import hashlib
import json
import shutil
from pathlib import Path

import pytest

from engine.guidance import files

CONFIGS = (
    "model_index.json",
    "unet/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with every file that is looked at, and no torch in sight."""
    root = tmp_path / "model"
    for name in (*CONFIGS, "tokenizer/tokenizer.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    (root / "unet/config.json").write_text('{"in_channels": 3, "out_channels": 6}')
    (root / UNET).write_bytes(b"unet's weights")
    (root / TEXT).write_bytes(b"text encoder's weights")
    return root


def shard(model: Path) -> list[str]:
    """Splits the text encoder's weights in two behind an index."""
    (model / TEXT).unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = {"a": names[0], "b": names[1], "c": names[0]}
    index = model / "text_encoder/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    for name in names:
        (model / "text_encoder" / name).write_bytes(name.encode())
    return names


def test_a_real_pipeline_s_directory_passes(tiny_weights: Path) -> None:
    files.check(tiny_weights)
    assert files.weight_files(tiny_weights) == [TEXT, UNET]


@pytest.mark.parametrize("name", [*CONFIGS, "tokenizer/tokenizer.json", UNET, TEXT])
def test_every_missing_file_is_named_with_the_mend(model: Path, name: str) -> None:
    files.check(model)
    (model / name).unlink()
    with pytest.raises(ValueError, match="missing") as caught:
        files.check(model)
    assert str(model / name) in str(caught.value)
    assert "give a directory in the layout of DeepFloyd IF" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_directory_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such directory; give a directory") as caught:
        files.check(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_a_file_is_not_a_directory(model: Path) -> None:
    with pytest.raises(ValueError, match="no such directory"):
        files.check(model / "model_index.json")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("text", ["not json", "[1]", ""])
def test_a_broken_configuration_is_named(model: Path, name: str, text: str) -> None:
    (model / name).write_text(text)
    with pytest.raises(ValueError, match="JSON") as caught:
        files.check(model)
    assert str(model / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("inputs", "outputs"), [(9, 4), (6, 6), (3, 4)])
def test_a_u_net_of_another_space_is_refused(model: Path, inputs: int, outputs: int) -> None:
    config = {"in_channels": inputs, "out_channels": outputs}
    (model / "unet/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"got {inputs} and {outputs}; give a directory"):
        files.check(model)


@pytest.mark.parametrize("outputs", [3, 6])
def test_three_and_six_output_channels_pass(model: Path, outputs: int) -> None:
    config = {"in_channels": 3, "out_channels": outputs}
    (model / "unet/config.json").write_text(json.dumps(config))
    files.check(model)


def test_a_sentencepiece_tokenizer_passes(model: Path) -> None:
    (model / "tokenizer/tokenizer.json").rename(model / "tokenizer/spiece.model")
    files.check(model)


def test_every_shard_of_an_index_is_wanted(model: Path) -> None:
    names = shard(model)
    files.check(model)
    assert files.weight_files(model) == [*(f"text_encoder/{name}" for name in names), UNET]
    (model / "text_encoder" / names[1]).unlink()
    with pytest.raises(ValueError, match=f"missing: .*{names[1]}; give a directory"):
        files.check(model)


@pytest.mark.parametrize("text", ["{", "{}", '{"weight_map": 3}'])
def test_a_broken_index_is_named(model: Path, text: str) -> None:
    shard(model)
    index = model / "text_encoder/model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(ValueError, match=str(index)):
        files.check(model)


def test_variants_are_not_weights(model: Path) -> None:
    """`from_pretrained` does not load them unless told to."""
    before = files.digest(model)
    variant = model / "unet/diffusion_pytorch_model.fp16.safetensors"
    variant.write_bytes(b"half")
    assert files.digest(model) == before
    (model / UNET).unlink()
    with pytest.raises(ValueError, match="missing"):
        files.check(model)


def test_the_digest_is_over_names_and_bytes(model: Path) -> None:
    expected = hashlib.sha256()
    for name in (TEXT, UNET):
        expected.update(
            name.encode() + b"\0" + hashlib.sha256((model / name).read_bytes()).digest()
        )
    assert files.digest(model) == expected.hexdigest()


def test_the_digest_is_the_same_wherever_the_model_lies(model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "some" / "other place"
    shutil.copytree(model, elsewhere)
    assert files.digest(elsewhere) == files.digest(model)
    (elsewhere / "model_index.json").write_text('{"_name_or_path": "elsewhere"}')
    assert files.digest(elsewhere) == files.digest(model)


@pytest.mark.parametrize("name", [UNET, TEXT])
def test_the_digest_changes_with_any_byte_of_the_weights(model: Path, name: str) -> None:
    before = files.digest(model)
    weights = bytearray((model / name).read_bytes())
    weights[-1] ^= 1
    (model / name).write_bytes(weights)
    assert files.digest(model) != before


def test_the_digest_tells_which_file_holds_what(model: Path) -> None:
    before = files.digest(model)
    unet, text = (model / UNET).read_bytes(), (model / TEXT).read_bytes()
    (model / UNET).write_bytes(text)
    (model / TEXT).write_bytes(unet)
    assert files.digest(model) != before


def test_primitives_is_the_packaged_model_and_all_else_a_path(tmp_path: Path) -> None:
    packaged = files.resolve("primitives")
    assert packaged.parts[-3:] == ("engine", "primitives", "weights")
    assert files.resolve(str(tmp_path)) == tmp_path
    assert files.resolve("./primitives") == Path("primitives")


@pytest.fixture
def latent_model(model: Path) -> Path:
    """The same in the layout of Stable Diffusion."""
    (model / "unet/config.json").write_text(
        '{"in_channels": 4, "out_channels": 4, "cross_attention_dim": 16}'
    )
    (model / "vae").mkdir()
    (model / "vae/config.json").write_text('{"latent_channels": 4}')
    (model / VAE).write_bytes(b"autoencoder's weights")
    return model


def test_the_channels_tell_the_space(model: Path, tmp_path: Path) -> None:
    assert files.space_of(model) == "pixel"
    with pytest.raises(ValueError, match="expected a latent model, got a pixel one; give a dir"):
        files.check(model, space="latent")
    with pytest.raises(ValueError, match="no such directory"):
        files.space_of(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["vae/config.json", VAE, UNET, TEXT])
def test_a_latent_model_needs_its_autoencoder(latent_model: Path, name: str) -> None:
    files.check(latent_model, space="latent")
    assert files.weight_files(latent_model) == [TEXT, UNET, VAE]
    with pytest.raises(ValueError, match="expected a pixel model, got a latent one"):
        files.check(latent_model, space="pixel")
    (latent_model / name).unlink()
    with pytest.raises(ValueError, match=f"missing: .*{name}; give a directory"):
        files.check(latent_model)


def test_clip_s_two_vocabulary_files_pass_together(latent_model: Path) -> None:
    tokenizer = latent_model / "tokenizer"
    (tokenizer / "tokenizer.json").rename(tokenizer / "vocab.json")
    with pytest.raises(ValueError, match=r"missing: .*tokenizer\.json"):
        files.check(latent_model)
    (tokenizer / "merges.txt").write_text("")
    files.check(latent_model)


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("vae", {"latent_channels": 16}, "an autoencoder of 4 latent channels, .*, got 16"),
        ("text_encoder", {"hidden_size": 12}, "texts of 16 features, .*, got a text encoder of 12"),
        ("text_encoder", {"d_model": 17}, "texts of 16 features, .*, got a text encoder of 17"),
        ("text_encoder", {"model_type": "gemma"}, "a T5 or CLIP text encoder, got 'gemma'"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    latent_model: Path, name: str, said: dict[str, object], message: str
) -> None:
    (latent_model / name / "config.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=f"expected {message}.*; give a directory") as caught:
        files.check(latent_model)
    assert "\n" not in str(caught.value)


def test_a_u_net_that_wants_more_than_a_text_is_refused(latent_model: Path) -> None:
    config = {"in_channels": 4, "out_channels": 4, "addition_embed_type": "text_time"}
    (latent_model / "unet/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"wants 'text_time' besides \(Stable Diffusion XL\?\)"):
        files.check(latent_model)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model_index.json", True),
        (UNET, True),
        ("unet/config.json", True),
        ("text_encoder/model.safetensors.index.json", True),
        ("text_encoder/model-00001-of-00002.safetensors", True),
        ("tokenizer/merges.txt", True),
        ("tokenizer/spiece.model", True),
        ("scheduler/scheduler_config.json", True),
        ("unet/diffusion_pytorch_model.bin", False),
        ("unet/diffusion_pytorch_model.fp16.safetensors", False),
        ("unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors", False),
        ("text_encoder/pytorch_model.bin", False),
        ("safety_checker/model.safetensors", False),
        ("v1-5-pruned.safetensors", False),
        ("README.md", True),
        ("docs/README.md", False),
        ("unet/more/config.json", False),
    ],
)
def test_what_a_repository_holds_besides_is_left_out(name: str, expected: bool) -> None:
    assert files.wanted(name) == expected


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, "unknown"),
        ("", "unknown"),
        ("# A model\n\nlicense: mit\n", "unknown"),
        ("---\ntags: [a]\n---\nlicense: mit\n", "unknown"),
        ("---\nlicense: openrail++\ntags:\n- text-to-image\n---\n# A model\n", "openrail++"),
        ('---\nlicense: "apache-2.0"  \n---\n', "apache-2.0"),
        (
            "---\nlicense: other\nlicense_name: deepfloyd-if-license\n---\n",
            "deepfloyd-if-license",
        ),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: mit\nlicense_name: ignored\n---\n", "mit"),
        ("---\nlicense: mit\n", "unknown"),
    ],
)
def test_the_card_tells_the_licence(tmp_path: Path, card: str | None, expected: str) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert files.licence(tmp_path) == expected


def test_the_packaged_model_has_its_licence() -> None:
    assert files.licence(files.resolve("primitives")) == "apache-2.0"
