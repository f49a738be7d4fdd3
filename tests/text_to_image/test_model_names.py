"""Where a model lies, and what a folder is that is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.text_to_image.hub import weights_of
from mmh_core.text_to_image.stable_diffusion import load, locate
from tests.text_to_image.conftest import FolderOf, ModelOf
from tests.text_to_image.test_model_folder import saved

MAIN, OTHER = "a" * 40, "b" * 40


def cache_entry(root: Path, source: Path) -> Path:
    """Write an entry of the Hub's cache as it lies there: links into blobs, and a name for one."""
    entry = root / "models--me--snap"
    for file in source.rglob("*"):
        if file.is_file():
            blob = entry / "blobs" / str(file.relative_to(source)).replace("/", "-")
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, blob)
            link = entry / "snapshots" / MAIN / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    return entry


def test_an_entry_of_the_cache_is_named_in_every_way(
    folder_of: FolderOf, model_of: ModelOf, tmp_path: Path
) -> None:
    entry = cache_entry(tmp_path, folder_of("tiny"))
    for named in (entry, entry / "snapshots", entry / "snapshots" / MAIN):
        model = load(named)
        assert (model.name, model.sha256) == ("me/snap", model_of("tiny").sha256)
    (entry / "snapshots" / OTHER).mkdir()
    with pytest.raises(MMHError, match=rf"2 snapshots: name one of .*{MAIN}.*{OTHER}"):
        load(entry)
    (entry / "refs").mkdir()
    (entry / "refs/main").write_text(f"{MAIN}\n")
    assert load(entry).sha256 == model_of("tiny").sha256
    (entry / "refs/main").write_text("../../..")
    with pytest.raises(MMHError, match="2 snapshots"):
        load(entry)


def test_a_link_to_nothing_in_the_cache_is_an_unfinished_download(
    folder_of: FolderOf, tmp_path: Path
) -> None:
    entry = cache_entry(tmp_path, folder_of("tiny"))
    (entry / "blobs/unet-diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(MMHError, match=r"a link to a file that is not there"):
        load(entry)
    empty = tmp_path / "models--me--none"
    (empty / "snapshots").mkdir(parents=True)
    with pytest.raises(MMHError, match="holds no snapshot: download"):
        load(empty)


def test_a_folder_of_models_lists_what_can_be_named(
    folder_of: FolderOf, own_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "models"
    for name in ("anime.safetensors", "b.sft"):
        saved(root / name, "model.diffusion_model.x", "first_stage_model.x")
    saved(root / "style.safetensors", "unet.to_q.lora_A.weight")
    shutil.copytree(own_folder, root / "sd" / "tiny")
    cache_entry(root, folder_of("tiny"))
    with pytest.raises(MMHError) as caught:
        load(root)
    said = str(caught.value)
    for name in ("anime.safetensors", "b.sft", "sd/tiny", "models--me--snap"):
        assert name in said
    assert "holds no whole model" in said and "Name one of them" in said and "again" not in said
    assert "style" not in said


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ((), "it is empty"),
        (("a.ckpt", "notes.txt"), r"pickles \(a\.ckpt\).*[Cc]hoose a safetensors version"),
        (("pytorch_lora_weights.safetensors",), "it is a LoRA.*fuse_lora"),
        (("adapter_config.json", "adapter_model.safetensors"), "it is a LoRA"),
        (("notes.txt",), "it holds notes.txt"),
        (("unet/x", "vae/x", "text_encoder/x"), "all its parts are there.*Copy model_index.json"),
        (("unet/x",), "as training leaves it .unet..*--base MODEL --unet"),
        (("checkpoint-9/unet/x", "checkpoint-50/unet/x"), "--base MODEL --unet .*checkpoint-50"),
    ],
)
def test_a_folder_is_called_what_it_is(tmp_path: Path, files: tuple[str, ...], says: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    with pytest.raises(MMHError, match=says) as caught:
        load(folder)
    assert "model_index.json" in str(caught.value) and "again" not in str(caught.value)


def test_a_name_like_a_folder_s_is_told_what_lies_beside(tmp_path: Path) -> None:
    (tmp_path / "finetune").mkdir()
    with pytest.raises(MMHError, match="Beside it there is finetune"):
        load(tmp_path / "fintune")


@pytest.mark.parametrize("name", ["hub:", "hub:x", "hub:a/b/c", "hub:../x", "hub:a b/c", "hub:/x"])
def test_a_name_that_is_none_of_the_hub_s_is_refused(name: str) -> None:
    with pytest.raises(MMHError, match="hub:owner/model"):
        load(name)


def test_the_shipped_model_is_found_from_any_folder(elsewhere: Path) -> None:
    path, name = locate("pocket-sd")
    assert name == "pocket-sd" and path.is_absolute() and (path / "model_index.json").is_file()


def test_one_version_of_each_part_is_downloaded() -> None:
    stem = "unet/diffusion_pytorch_model"
    names = ["model_index.json", f"{stem}.safetensors", f"{stem}.fp16.safetensors", f"{stem}.bin"]
    names += ["vae/diffusion_pytorch_model.fp16.safetensors", "v1-5-pruned.safetensors"]
    names += [f"text_encoder/model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    names += ["text_encoder/model.safetensors.index.json", "text_encoder/flax_model.msgpack"]
    assert sorted(weights_of(names)) == [
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
