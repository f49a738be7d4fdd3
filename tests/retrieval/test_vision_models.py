"""CLIP and DINOv2 give what transformers gives for the same images, from safe files only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
)

from mmh_core.records import MMHError
from mmh_core.retrieval.embedder_choice import load_embedder
from mmh_core.retrieval.vision_models import clip_embedder, dinov2_embedder
from tests.retrieval.drawings import drawings

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a whole tiny CLIP, text half and all, as the published folders hold it."""
    torch.manual_seed(0)
    half = {**SMALL, "intermediate_size": 32, "projection_dim": 12}
    config = CLIPConfig(
        text_config={**half, "vocab_size": 50, "max_position_embeddings": 8},
        vision_config={**half, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dinov2")
    Dinov2Model(Dinov2Config(**SMALL, image_size=28, patch_size=14)).save_pretrained(folder)
    BitImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(folder)
    return folder


def opened(images: Tensor) -> list[Image.Image]:
    """Return Pillow images of bytes (B, 3, H, W)."""
    return [Image.fromarray(each) for each in images.permute(0, 2, 3, 1).numpy()]


def test_clip_equals_transformers_on_pillow_images(clip: Path) -> None:
    images = drawings(3)[..., :48]  # Not square: the crop matters.
    model = CLIPModel.from_pretrained(clip).eval()
    prepared = CLIPImageProcessorPil.from_pretrained(clip)(opened(images), return_tensors="pt")
    with torch.no_grad():
        seen = model.vision_model(prepared["pixel_values"]).pooler_output
        features = model.visual_projection(seen)
    found = clip_embedder(clip)(images.to(torch.float32) / 255)
    wanted = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert clip_embedder(clip).dim == 12
    # Values between two bytes go to the nearer one.
    below = (images.to(torch.float32) - 0.4).clamp(0) / 255
    assert torch.equal(clip_embedder(clip)(below), found)


def test_dinov2_equals_transformers_on_pillow_images(dinov2: Path) -> None:
    images = drawings(3)
    model = Dinov2Model.from_pretrained(dinov2).eval()
    prepared = BitImageProcessorPil.from_pretrained(dinov2)(opened(images), return_tensors="pt")
    with torch.no_grad():
        token = model(prepared["pixel_values"]).last_hidden_state[:, 0]
    found = load_embedder(f"dinov2:{dinov2}")(images.to(torch.float32) / 255)
    wanted = token / token.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_preparation_is_told_and_digests_follow_every_file(clip: Path, tmp_path: Path) -> None:
    embedder = clip_embedder(clip)
    assert embedder.preprocessing == (
        "Pillow resize to shortest_edge 32, center crop height 32, width 32, "
        "the model's own colors"
    )
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((clip / name).read_bytes())
    assert clip_embedder(tmp_path).digest == embedder.digest
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | {"do_resize": False}))
    assert clip_embedder(tmp_path).digest != embedder.digest


def test_the_other_model_is_refused(clip: Path, dinov2: Path) -> None:
    with pytest.raises(MMHError, match="holds a dinov2 model: name a clip model"):
        clip_embedder(dinov2)
    with pytest.raises(MMHError, match="holds a clip model: name a dinov2 model"):
        dinov2_embedder(clip)


def copied(source: Path, target: Path, **changes: Any) -> Path:
    """Copy a model's folder, with other bytes for some files or None to leave them out."""
    for path in source.iterdir():
        content = changes.get(path.name.split(".")[0], path.read_bytes())
        if content is not None:
            (target / path.name).write_bytes(content)
    return target


def test_pickled_and_missing_weights_are_refused(clip: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "pickle")
    folder = copied(clip, tmp_path, model=(tmp_path / "pickle").read_bytes())
    with pytest.raises(MMHError, match="is a pickle"):
        clip_embedder(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(MMHError, match=r"no model\.safetensors"):
        clip_embedder(folder)


def test_a_cut_file_or_a_missing_parameter_is_refused(clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = (clip / "model.safetensors").read_bytes()
    folder = copied(clip, tmp_path, model=whole[: len(whole) // 2])
    with pytest.raises(MMHError, match="cannot be loaded"):
        clip_embedder(folder)
    weights = load_file(clip / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    # transformers would draw these weights at random.
    with pytest.raises(MMHError, match=r"lacks parameters.*visual_projection"):
        clip_embedder(folder)


def test_without_its_preprocessor_a_model_is_refused(clip: Path, tmp_path: Path) -> None:
    folder = copied(clip, tmp_path, preprocessor_config=None)
    with pytest.raises(MMHError, match="how images were prepared"):
        clip_embedder(folder)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(MMHError, match="cannot be read"):
        clip_embedder(folder)


def test_no_such_folder_and_no_network_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*arguments: object, **options: object) -> str:
        raise ConnectionError("no route")

    with pytest.raises(MMHError, match="There is no folder /nowhere/at/all: name one"):
        clip_embedder("/nowhere/at/all")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MMHError, match=r"the Hub did not give.*ConnectionError.*local folder"):
        clip_embedder("openai/clip-vit-base-patch32")


def test_a_name_on_the_hub_is_fetched_without_pickles(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = list[tuple[str, list[str]]]()

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(clip)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert clip_embedder("openai/tiny").digest == clip_embedder(clip).digest
    assert asked == [("openai/tiny", ["*.json", "*.safetensors"])]
