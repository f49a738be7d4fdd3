"""A folder of models: all that can be chosen is listed, and all that cannot is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmh_core.text_to_image.model_folder import ModelListing, holds_models, list_models, stamps
from mmh_core.text_to_image.stable_diffusion import load, parameter_counts
from tests.text_to_image.conftest import FolderOf, ModelOf
from tests.text_to_image.test_checkpoints import single, trained, written


def saved(path: Path, *names: str) -> Path:
    """Write a safetensors file with small tensors of these names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.zeros(4, 4, 3, 3) for name in names}, path)
    return path


@pytest.fixture
def web_ui(folder_of: FolderOf, tmp_path: Path) -> Path:
    """Return a folder as web UIs have it, links and other things among its models."""
    root = tmp_path / "models"
    root.mkdir()
    source = folder_of("sd15")
    written(root, source, single(source, "sd15")).rename(root / "anime.safetensors")
    (root / "linked").symlink_to(folder_of("tiny"), target_is_directory=True)
    (root / "also.safetensors").symlink_to(root / "anime.safetensors")
    shutil.copytree(folder_of("tiny"), root / "Stable-diffusion" / "sub" / "deep")
    (root / "old.ckpt").write_bytes(b"PK\x03\x04")
    (root / "gone").symlink_to(tmp_path / "nothing")
    (root / "loop").symlink_to(root, target_is_directory=True)
    saved(root / "Lora" / "character.safetensors", "lora_unet_down.lora_down.weight")
    saved(root / "Lora" / "style.safetensors", "unet.to_q.lora_A.weight")
    saved(root / "VAE" / "kl.safetensors", "decoder.conv_in.weight", "encoder.conv_in.weight")
    saved(
        root / "xl.safetensors", "conditioner.embedders.0.x", "model.diffusion_model.label_emb.0"
    )
    saved(root / "word.safetensors", "emb_params")
    (root / "half.safetensors").write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{")
    (root / "flux.gguf").write_bytes(b"GGUF")
    (root / "anime.preview.png").write_bytes(b"\x89PNG")
    (root / "empty").mkdir()
    return root


def test_everything_is_listed_or_counted(web_ui: Path) -> None:
    found = list_models(web_ui)
    assert sorted(found.models) == [
        "Stable-diffusion/sub/deep",
        "also.safetensors",
        "anime.safetensors",
        "half.safetensors",
        "linked",
    ]
    assert {one.name: one.noun for one in found.left_out} == {
        "Lora/character.safetensors": "LoRA",
        "Lora/style.safetensors": "LoRA",
        "VAE/kl.safetensors": "autoencoder",
        "empty": "folder without a model",
        "flux.gguf": "GGUF file",
        "gone": "link to nothing",
        "loop": "link to a folder that is listed already",
        "old.ckpt": "pickle",
        "tokenizer": "tokenizer",
        "word.safetensors": "textual-inversion embedding",
        "xl.safetensors": "Stable Diffusion XL model",
    }
    assert found.others == 1
    sentence = found.sentence(web_ui)
    assert sentence.startswith(f"Left out of {web_ui}: ") and sentence.endswith(".")
    for part in (
        "2 LoRAs (Lora/character.safetensors, Lora/style.safetensors; fuse",
        "1 pickle (old.ckpt; it can run code",
        "1 Stable Diffusion XL model (xl.safetensors)",
        "1 link to nothing (gone",
        "1 other file",
    ):
        assert part in sentence


def test_what_is_listed_loads(web_ui: Path, model_of: ModelOf) -> None:
    found = list_models(web_ui).models
    assert load(found["anime.safetensors"]).sha256 == load(found["also.safetensors"]).sha256
    for name in ("linked", "Stable-diffusion/sub/deep"):
        assert load(found[name]).sha256 == model_of("tiny").sha256
        assert parameter_counts(found[name])["unet"] > 0


def test_the_checkpoints_of_a_training_are_listed_with_their_model(
    own_folder: Path, folder_of: FolderOf
) -> None:
    for step in (500, 1000):
        trained(own_folder / f"checkpoint-{step}", folder_of("tiny"), "unet")
    trained(own_folder / "checkpoint-1000", folder_of("tiny"), "unet_ema")
    found = list_models(own_folder.parent).models
    assert list(found) == [
        "tiny",
        "tiny/checkpoint-500/unet",
        "tiny/checkpoint-1000/unet",
        "tiny/checkpoint-1000/unet_ema",
    ]
    model = load(found["tiny/checkpoint-1000/unet_ema"])
    assert model.name == "tiny with checkpoint-1000/unet_ema"
    # All that training left here holds the same numbers, other ones than the model.
    assert len({load(source).sha256 for source in found.values()}) == 2


def test_an_entry_of_the_cache_is_its_snapshot(folder_of: FolderOf, tmp_path: Path) -> None:
    entry = tmp_path / "models--me--snap"
    shutil.copytree(folder_of("tiny"), entry / "snapshots" / ("a" * 40))
    found = list_models(tmp_path)
    assert load(found.models["models--me--snap"]).name == "me/snap"
    (entry / "snapshots" / ("b" * 40)).mkdir()
    assert list_models(tmp_path).left_out[0].noun.startswith("cache entry")


def test_a_folder_without_models_says_so(tmp_path: Path) -> None:
    assert list_models(tmp_path).sentence(tmp_path) == (
        f"No model was found in {tmp_path}, it is empty."
    )
    assert not holds_models(tmp_path)
    (tmp_path / "a.ckpt").write_bytes(b"")
    (tmp_path / "b.ckpt").write_bytes(b"")
    sentence = list_models(tmp_path).sentence(tmp_path)
    assert sentence.startswith(f"No model was found in {tmp_path}: 2 pickles (a.ckpt, b.ckpt; ")
    assert ModelListing(models={"a": "a"}).sentence(tmp_path) == ""


def test_a_change_is_noticed(folder_of: FolderOf, tmp_path: Path) -> None:
    before = stamps(tmp_path)
    shutil.copytree(folder_of("tiny"), tmp_path / "tiny")
    assert stamps(tmp_path) != before
    before = stamps(tmp_path)
    (tmp_path / "tiny/unet/diffusion_pytorch_model.safetensors").unlink()
    assert stamps(tmp_path) != before


def test_more_than_is_looked_at_is_said(tmp_path: Path) -> None:
    for i in range(2010):
        (tmp_path / f"{i:05d}.ckpt").touch()
    found = list_models(tmp_path)
    assert len(found.left_out) == 2000 and found.unseen
    assert "whatever comes after the first 2,000 entries" in found.sentence(tmp_path)
