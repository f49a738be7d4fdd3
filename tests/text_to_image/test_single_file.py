"""A checkpoint in its original form is the same model as the folder it was made from."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.text_to_image import single_file
from mmh_core.text_to_image.single_file import predicts_noise
from mmh_core.text_to_image.stable_diffusion import load
from tests.text_to_image.conftest import FolderOf, ModelOf
from tests.text_to_image.original import original_form

MARK = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def write_file(folder: Path, source: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write the single file of a pipeline's folder, its tokenizer beside it."""
    tensors = original_form(
        load_file(source / "unet/diffusion_pytorch_model.safetensors"),
        load_file(source / "vae/diffusion_pytorch_model.safetensors"),
        load_file(source / "text_encoder/model.safetensors"),
        second="sd21" in source.name,
    )
    save_file(tensors, folder / "model.safetensors", metadata)
    shutil.copytree(source / "tokenizer", folder / "tokenizer")
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_a_single_file_is_the_model_of_its_folder(
    folder_of: FolderOf, model_of: ModelOf, tmp_path: Path, kind: str
) -> None:
    path = write_file(tmp_path, folder_of(kind))
    model, expected = load(path), model_of(kind)
    assert model.name == "model"
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for part in ("unet", "autoencoder", "text_encoder"):
        ours, theirs = getattr(model, part), getattr(expected, part)
        pairs = zip(ours.named_parameters(), theirs.named_parameters(), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)
    # The same weights at other places in memory: sums in another order, over values near 1.
    close = {"rtol": 1e-4, "atol": 1e-4}
    cond = expected.encode_text(["the cat"])
    torch.testing.assert_close(model.encode_text(["the cat"]), cond, **close)
    x_t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for t in (0.1, 0.9):
        eps = model.score_model.eps(x_t, t, cond)
        torch.testing.assert_close(eps, expected.score_model.eps(x_t, t, cond), **close)
    torch.testing.assert_close(model.decode(x_t), expected.decode(x_t), **close)
    table = model.schedule.alphas_cumprod
    assert table == expected.schedule.alphas_cumprod
    assert model.image_size == {"sd15": (512, 512), "sd21": (768, 768)}[kind]


def test_what_the_metadata_states_is_believed(folder_of: FolderOf, tmp_path: Path) -> None:
    path = write_file(tmp_path, folder_of("sd21"), {"modelspec.prediction_type": "epsilon"})
    model = load(path)
    assert model.score_model.target == "eps"
    assert model.scheduler["prediction_type"] == "epsilon"


def test_a_network_that_returns_the_noise_predicts_it() -> None:
    alpha, sigma = 0.068, 0.9977

    def eps_net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return (x_t - alpha * 0.8) / sigma

    def v_net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return alpha * (x_t - alpha * 0.8) / sigma - sigma * 0.8

    assert predicts_noise(eps_net, torch.device("cpu"))
    assert not predicts_noise(v_net, torch.device("cpu"))


def test_a_version_2_that_answers_with_the_noise_is_loaded_as_such(
    folder_of: FolderOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path, folder_of("sd21"))
    assert load(path).score_model.target == "v"
    monkeypatch.setattr(single_file, "predicts_noise", lambda net, device: True)
    model = load(path)
    assert model.score_model.target == "eps"
    assert model.scheduler["prediction_type"] == "epsilon"
    assert model.image_size == (512, 512)
    assert model.factor == 8


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("sd15", "models--openai--clip-vit-large-patch14"),
        ("sd21", "models--sd2-community--stable-diffusion-2-1"),
    ],
)
def test_a_missing_tokenizer_is_that_of_an_earlier_download_or_says_where_it_goes(
    folder_of: FolderOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    published: str,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    path = write_file(tmp_path, folder_of(kind))
    expected = load(path).unconditional
    shutil.rmtree(tmp_path / "tokenizer")
    if kind == "sd21":
        # Version 2 pads with another token: the tokenizer of the first is not taken for it.
        other = "models--openai--clip-vit-large-patch14"
        keep_tokenizer(tmp_path / "hub" / other, folder_of(kind))
    with pytest.raises(MMHError, match=rf"json and merges\.txt at {tmp_path}/tokenizer"):
        load(path)
    keep_tokenizer(tmp_path / "hub" / published, folder_of(kind))
    torch.testing.assert_close(load(path).unconditional, expected)


def keep_tokenizer(entry: Path, source: Path) -> None:
    """Leave a tokenizer in the Hub's cache, as a download does."""
    if not (entry / "refs").exists():
        (entry / "refs").mkdir(parents=True)
        (entry / "refs/main").write_text("a" * 40)
        shutil.copytree(source / "tokenizer", entry / "snapshots" / ("a" * 40))


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("model.diffusion_model.", "is not a Stable Diffusion .*holds no denoising network"),
        ("first_stage_model.", r"holds no autoencoder .*model\.vae\.safetensors"),
        ("cond_stage_model.", r"holds no text encoder.*--base MODEL --unet .*model\.safetensors"),
        (MARK, "does not hold the tensor down_blocks.0.attentions.0"),
    ],
)
def test_a_file_without_one_of_its_networks_says_which(
    folder_of: FolderOf, tmp_path: Path, without: str, says: str
) -> None:
    path = write_file(tmp_path, folder_of("sd15"))
    tensors = load_file(path)
    save_file({name: x for name, x in tensors.items() if not name.startswith(without)}, path)
    with pytest.raises(MMHError, match=says):
        load(path)


def test_an_inpainting_file_is_refused(folder_of: FolderOf, tmp_path: Path) -> None:
    path = write_file(tmp_path, folder_of("sd15"))
    tensors = load_file(path)
    name = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[name] = torch.zeros(len(tensors[name]), 9, 3, 3)
    save_file(tensors, path)
    with pytest.raises(MMHError, match="is an inpainting model"):
        load(path)


def test_a_file_that_misses_a_tensor_is_refused(folder_of: FolderOf, tmp_path: Path) -> None:
    path = write_file(tmp_path, folder_of("sd15"))
    tensors = load_file(path)
    tensors.pop("model.diffusion_model.middle_block.1.norm.bias")
    save_file(tensors, path)
    with pytest.raises(MMHError, match=r"does not hold the tensor mid_block\.attentions\.0\.norm"):
        load(path)


def test_a_cut_file_is_refused(folder_of: FolderOf, tmp_path: Path) -> None:
    path = write_file(tmp_path, folder_of("sd15"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(MMHError, match="damaged"):
        load(path)


def test_only_what_is_read_counts_for_memory(folder_of: FolderOf, tmp_path: Path) -> None:
    path = write_file(tmp_path, folder_of("sd15"))
    total = sum(x.numel() for x in load_file(path).values())
    assert (
        sum(single_file.weight_counts(path).values()) == total - 1001
    )  # Without the table and the decay.
