"""Checkpoints as they lie on disks are the model that they hold, whatever form they have."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.original_networks import open_clip_text
from mmh_core.text_to_image.stable_diffusion import load, parameter_counts
from mmh_core.text_to_image.tensor_names import LEFT_OUT, USED
from tests.text_to_image.conftest import FolderOf, ModelOf
from tests.text_to_image.original import original_form
from tests.text_to_image.pipelines import plain_pipeline

STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
UNET = "unet/diffusion_pytorch_model.safetensors"
Renamed = Callable[[str], str]


def assert_same(model: TextToImage, expected: TextToImage) -> None:
    """Compare every weight, and the configuration that no weight shows."""
    for part in ("unet", "autoencoder", "text_encoder"):
        ours = dict(getattr(model, part).named_parameters())
        theirs = dict(getattr(expected, part).named_parameters())
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(x, theirs[name]) for name, x in ours.items())
    # The same weights at other places in memory: sums in another order, over values near 1.
    for output, other in zip(outputs(model), expected_outputs(expected), strict=True):
        torch.testing.assert_close(output, other, rtol=1e-4, atol=1e-4)


def outputs(model: TextToImage) -> tuple[Tensor, ...]:
    """Return what a model makes of a prompt, of noise at two times, and of latents."""
    cond = model.encode_text(["the cat"])
    side = 8 if len(model.unet.config["block_out_channels"]) > 2 else 4
    x_t = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
    eps = (model.score_model.eps(x_t, t, cond) for t in (0.1, 0.9))
    return cond, *eps, model.decode(x_t)


expected_outputs = cache(outputs)


def shards(folder: Path, stem: str, count: int, *, variant: str = "", index: bool = True) -> None:
    """Cut a network's file into shards, as save_pretrained does for a small size."""
    whole = folder / f"{stem}.safetensors"
    tensors = load_file(whole)
    names = sorted(tensors)
    part = variant and "." + variant
    listed = {}
    for i in range(count):
        name = f"{stem}{part}-{i + 1:05d}-of-{count:05d}.safetensors"
        chosen = names[i::count]
        save_file({key: tensors[key] for key in chosen}, folder / name)
        listed |= dict.fromkeys(chosen, name)
    if index:
        path = folder / f"{stem}.safetensors.index{part}.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    whole.unlink()


# Folders


@pytest.mark.parametrize(
    ("part", "count", "variant", "index"),
    [
        ("unet", 2, "", True),
        ("vae", 5, "fp16", True),
        ("text_encoder", 3, "fp16", True),
        ("unet", 3, "", False),
        ("text_encoder", 2, "", False),
        ("vae", 1, "", True),
    ],
)
def test_shards_are_the_whole(
    own_folder: Path, model_of: ModelOf, part: str, count: int, variant: str, index: bool
) -> None:
    shards(own_folder / part, STEMS[part], count, variant=variant, index=index)
    assert_same(load(own_folder), model_of("tiny"))


def test_what_diffusers_cuts_into_shards_is_the_same(own_folder: Path, model_of: ModelOf) -> None:
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel.from_pretrained(own_folder, subfolder="unet")
    (own_folder / UNET).unlink()
    network.save_pretrained(own_folder / "unet", max_shard_size="300KB")
    assert len(list((own_folder / "unet").glob("*-of-*"))) > 1
    assert_same(load(own_folder), model_of("tiny"))


def test_a_missing_shard_is_named(own_folder: Path) -> None:
    shards(own_folder / "unet", STEMS["unet"], 3)
    gone = "diffusion_pytorch_model-00002-of-00003.safetensors"
    (own_folder / "unet" / gone).unlink()
    for _ in range(2):
        with pytest.raises(MMHError, match=rf"1 of the 3 .*missing.*{gone}") as caught:
            load(own_folder)
        assert "again" not in str(caught.value)
        (own_folder / "unet/diffusion_pytorch_model.safetensors.index.json").unlink(True)


@pytest.mark.parametrize(
    "name",
    (
        *("../text_encoder/model.safetensors", "/etc/hostname", "..", "", "a/b.safetensors", 3),
        *(None, "~/x.safetensors", "C:\\x.safetensors", "evil.bin", "\n.safetensors"),
    ),
)
def test_an_index_leads_nowhere_but_into_its_folder(own_folder: Path, name: object) -> None:
    (own_folder / UNET).unlink()
    (own_folder / "unet/evil.bin").write_bytes(b"\x80\x04")
    path = own_folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"conv_in.bias": name}}))
    with pytest.raises(MMHError, match=r"index\.json (names|does not say)"):
        load(own_folder)


@pytest.mark.parametrize("variant", ["fp16", "bf16", "fp32", "non_ema", "my-own"])
def test_a_variant_alone_is_taken_and_named(
    own_folder: Path, model_of: ModelOf, variant: str
) -> None:
    path = own_folder / UNET
    path.rename(path.with_suffix(f".{variant}.safetensors"))
    model = load(own_folder)
    assert_same(model, model_of("tiny"))
    assert any(f"diffusion_pytorch_model.{variant}.safetensors" in note for note in model.notes)


def test_the_whole_goes_before_its_variants(own_folder: Path, model_of: ModelOf) -> None:
    for variant in ("fp16", "non_ema"):
        tensors = {name: x * 0 for name, x in load_file(own_folder / UNET).items()}
        save_file(tensors, own_folder / f"unet/diffusion_pytorch_model.{variant}.safetensors")
    assert_same(load(own_folder), model_of("tiny"))
    assert load(own_folder).notes == ()


@pytest.mark.parametrize(
    ("part", "prefix"),
    [
        *(("unet", prefix) for prefix in ("_orig_mod.", "module._orig_mod.", "unet.")),
        *(("vae", prefix) for prefix in ("module.", "ema_model.")),
        *(("text_encoder", prefix) for prefix in ("_orig_mod.", "model.", "ema_model.")),
    ],
)
def test_what_training_wrapped_around_names_is_dropped(
    own_folder: Path, model_of: ModelOf, part: str, prefix: str
) -> None:
    path = own_folder / part / f"{STEMS[part]}.safetensors"
    save_file({prefix + name: x for name, x in load_file(path).items()}, path)
    model = load(own_folder)
    assert_same(model, model_of("tiny"))
    assert any(USED in note for note in model.notes) == ("ema" in prefix)


@pytest.mark.parametrize("inside", ["_orig_mod.", "_fsdp_wrapped_module."])
def test_blocks_compiled_one_by_one_are_the_same(
    own_folder: Path, model_of: ModelOf, inside: str
) -> None:
    path = own_folder / UNET
    tensors = load_file(path)
    save_file({re.sub(r"(blocks\.\d+\.)", rf"\1{inside}", n): x for n, x in tensors.items()}, path)
    assert_same(load(own_folder), model_of("tiny"))


def test_of_weights_and_their_average_the_weights_are_taken(
    own_folder: Path, model_of: ModelOf
) -> None:
    path = own_folder / UNET
    tensors = load_file(path)
    both = {f"ema.{name}": x * 0 for name, x in tensors.items()}
    save_file({**both, **{f"model.{name}": x for name, x in tensors.items()}}, path)
    model = load(own_folder)
    assert_same(model, model_of("tiny"))
    assert any(LEFT_OUT in note for note in model.notes)


def lora_inside(tensors: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    """Return a network's tensors with a LoRA that was never merged, as trainers leave it."""
    result = {}
    for name, x in tensors.items():
        if ".to_q.weight" not in name:
            result[name] = x
            continue
        stem = name.removesuffix(".weight")
        result[f"{stem}.base_layer.weight" if how == "peft" else name] = x
        pair = {"peft": ("lora_A.default", "lora_B.default"), "old": ("lora.down", "lora.up")}
        for side in pair[how]:
            result[f"{stem}.{side}.weight"] = torch.zeros(4, 4)
    return result


@pytest.mark.parametrize("how", ["peft", "old"])
def test_a_lora_inside_is_said(own_folder: Path, how: str) -> None:
    path = own_folder / UNET
    save_file(lora_inside(load_file(path), how), path)
    with pytest.raises(MMHError, match=r"LoRA.*(fuse_lora|merge)") as caught:
        load(own_folder)
    assert "again" not in str(caught.value).replace("save it again", "")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_quantized_weights_are_said(own_folder: Path, dtype: torch.dtype) -> None:
    path = own_folder / UNET
    tensors = load_file(path)
    tensors["conv_in.weight"] = tensors["conv_in.weight"].to(dtype)
    save_file(tensors, path)
    with pytest.raises(MMHError, match="quantized weights: choose the version in half"):
        load(own_folder)


# Checkpoints of training


def trained(folder: Path, source: Path, network: str, *, config: bool = True) -> Path:
    """Write what train_text_to_image leaves at a step: the network, changed, and the optimizer."""
    place = folder / network
    place.mkdir(parents=True)
    tensors = {name: x + 0.01 for name, x in load_file(source / UNET).items()}
    save_file(tensors, place / "diffusion_pytorch_model.safetensors")
    if config:
        content = json.loads((source / "unet/config.json").read_text())
        content |= {"decay": 0.99, "optimization_step": 500, "_name_or_path": "x/y"}
        (place / "config.json").write_text(json.dumps(content))
    (folder / "optimizer.bin").write_bytes(b"\x80\x04")
    return place


@pytest.mark.parametrize("network", ["unet", "unet_ema"])
@pytest.mark.parametrize("config", [True, False])
def test_a_part_that_training_left_is_used_with_its_model(
    own_folder: Path, tmp_path: Path, network: str, config: bool
) -> None:
    step = tmp_path / "run" / "checkpoint-500"
    place = trained(step, own_folder, network, config=config)
    expected_folder = Path(shutil.copytree(own_folder, tmp_path / "whole"))
    shutil.copy(place / "diffusion_pytorch_model.safetensors", expected_folder / UNET)
    expected, base = load(expected_folder), load(own_folder)
    for named in (step, place):
        model = load(f"{own_folder}::unet={named}")
        assert_same(model, expected)
        assert model.sha256 != base.sha256
        assert model.name == f"tiny with checkpoint-500/{network}"
    file = place / "diffusion_pytorch_model.safetensors"
    assert_same(load(f"{own_folder}::unet={file}"), expected)
    assert parameter_counts(f"{own_folder}::unet={step}") == parameter_counts(str(own_folder))


def test_a_part_alone_says_how_it_is_used(own_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    step = run / "checkpoint-500"
    trained(step, own_folder, "unet_ema")
    for named in (step, step / "unet_ema", run):
        with pytest.raises(MMHError, match=r"--base MODEL --unet \S*checkpoint-500") as caught:
            load(named)
        assert "again" not in str(caught.value)
    trained(step, own_folder, "unet")
    with pytest.raises(MMHError, match=r"--unet \S*/unet or --unet \S*/unet_ema"):
        load(f"{own_folder}::unet={step}")
    for name, says in [("vae", "--vae"), ("tokenizer", "tokenizer"), ("scheduler", "scheduler")]:
        with pytest.raises(MMHError, match=rf"part of a pipeline.*{says}"):
            load(own_folder / name)
    with pytest.raises(MMHError, match=r"[Nn]ame the whole model.*tiny"):
        load(own_folder / "unet")


@pytest.mark.parametrize("bad", ["::unet", "::unet=", "::lora=x", "::unet=a::unet=b", "::"])
def test_a_part_is_named_in_one_way(own_folder: Path, bad: str) -> None:
    with pytest.raises(MMHError, match=r"MODEL::unet=FOLDER"):
        load(f"{own_folder}{bad}")


def test_a_part_of_another_model_is_refused(
    own_folder: Path, folder_of: FolderOf, tmp_path: Path
) -> None:
    with pytest.raises(MMHError, match=r"text encoder gives 32 numbers"):
        load(f"{own_folder}::unet={folder_of('sd15') / 'unet'}")
    with pytest.raises(MMHError, match="does not exist"):
        load(f"{own_folder}::unet={tmp_path / 'nothing'}")
    with pytest.raises(MMHError, match="is an autoencoder"):
        load(f"{own_folder}::unet={own_folder / 'vae'}")


def test_another_autoencoder_is_put_in_its_place(
    own_folder: Path, tmp_path: Path, model_of: ModelOf
) -> None:
    other = Path(shutil.copytree(own_folder / "vae", tmp_path / "vae"))
    path = other / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["decoder.conv_out.bias"] += 1
    save_file(tensors, path)
    for named in (other, path):
        model = load(f"{own_folder}::vae={named}")
        change = model.autoencoder.decoder.conv_out.bias - (
            model_of("tiny").autoencoder.decoder.conv_out.bias
        )
        torch.testing.assert_close(change, torch.ones_like(change))


# Single files


def single(source: Path, kind: str) -> dict[str, Tensor]:
    """Return a pipeline's tensors under the names of a single file."""
    return original_form(
        *(load_file(source / part / f"{STEMS[part]}.safetensors") for part in STEMS),
        second=kind == "sd21",
    )


def written(folder: Path, source: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Write a single file with its tokenizer beside it."""
    save_file(dict(tensors), folder / "model.safetensors")
    if not (folder / "tokenizer").exists():
        shutil.copytree(source / "tokenizer", folder / "tokenizer")
    return folder / "model.safetensors"


FORMS: dict[str, Renamed] = {
    "old text names": lambda name: name.replace("transformer.text_model.", "transformer."),
    "compiled": lambda name: re.sub(r"^(\w+)\.", r"\1._orig_mod.", name),
    "distributed": lambda name: f"module.{name}",
    "of Lightning": lambda name: f"state_dict.{name}",
    "compiled inside": lambda name: name.replace(
        "model.diffusion_model.", "model.diffusion_model._orig_mod."
    ),
    "distributed inside": lambda name: name.replace(
        "model.diffusion_model.", "model.diffusion_model.module."
    ),
}


@pytest.mark.parametrize(
    ("kind", "form"),
    [*(("sd15", form) for form in FORMS), ("sd21", "compiled"), ("sd21", "distributed inside")],
)
def test_a_single_file_under_other_names_is_the_same(
    folder_of: FolderOf, model_of: ModelOf, tmp_path: Path, kind: str, form: str
) -> None:
    source = folder_of(kind)
    tensors = {FORMS[form](name): x for name, x in single(source, kind).items()}
    assert_same(load(written(tmp_path, source, tensors)), model_of(kind))


def test_a_version_2_with_the_names_of_transformers_is_the_same(
    folder_of: FolderOf, model_of: ModelOf, tmp_path: Path
) -> None:
    source = folder_of("sd21")
    tensors = single(source, "sd21")
    plain = {n: x for n, x in tensors.items() if not n.startswith("cond_stage_model.")}
    text = load_file(source / "text_encoder/model.safetensors")
    for name, x in text.items():
        plain[f"cond_stage_model.transformer.text_model.{name}"] = x
    assert_same(load(written(tmp_path, source, plain)), model_of("sd21"))


def flat(name: str) -> str:
    """Return the name under which training keeps the average of a network's tensor."""
    return "model_ema." + "".join(name.split(".")[1:])


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_averaged_weights_are_taken_only_alone(
    folder_of: FolderOf, model_of: ModelOf, tmp_path: Path, kind: str
) -> None:
    source = folder_of(kind)
    tensors = single(source, kind)
    network = {name: x for name, x in tensors.items() if "diffusion_model" in name}
    assert len({flat(name) for name in network}) == len(network)
    both = {**tensors, **{flat(name): x * 0 for name, x in network.items()}}
    model = load(written(tmp_path, source, both))
    assert_same(model, model_of(kind))
    assert model.notes == (LEFT_OUT,)
    alone = {name: x for name, x in tensors.items() if name not in network}
    alone |= {flat(name): x for name, x in network.items()}
    model = load(written(tmp_path, source, alone))
    assert_same(model, model_of(kind))
    assert model.notes == (USED,)


VAE_FORMS: dict[str, Renamed] = {
    "as in the checkpoint": lambda name: name,
    "alone": lambda name: name.removeprefix("first_stage_model."),
    "of transformers": lambda name: name.replace("first_stage_model.", "vae."),
}


@pytest.mark.parametrize("form", [*VAE_FORMS, "of diffusers"])
def test_an_autoencoder_beside_the_file_is_taken_or_asked_for(
    folder_of: FolderOf, model_of: ModelOf, tmp_path: Path, form: str
) -> None:
    source = folder_of("sd15")
    tensors = single(source, "sd15")
    own = {name: x for name, x in tensors.items() if name.startswith("first_stage_model.")}
    rest = {name: x for name, x in tensors.items() if name not in own}
    path = written(tmp_path, source, rest)
    with pytest.raises(MMHError, match=r"holds no autoencoder.*beside it as model\.vae\.safeten"):
        load(path)
    kept = load_file(source / "vae/diffusion_pytorch_model.safetensors")
    if form != "of diffusers":
        kept = {VAE_FORMS[form](name): x for name, x in own.items()}
    given = tmp_path / "elsewhere.safetensors"
    save_file(kept, given)
    assert_same(load(f"{path}::vae={given}"), model_of("sd15"))
    given.rename(tmp_path / "model.vae.safetensors")
    model = load(path)
    assert_same(model, model_of("sd15"))
    assert model.notes == ("Its autoencoder is model.vae.safetensors.",)


def with_text_blocks(folder: Path, *, width: int, blocks: int) -> Path:
    """Write a small version 2 with a text encoder of the real width and number of blocks."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests.text_to_image.pipelines import KINDS, TOKENS, randomize

    path = folder / "unet"
    config = {**KINDS["sd21"].unet, "cross_attention_dim": width, "sample_size": 8}
    network = UNet2DConditionModel(**config)
    generator = torch.Generator().manual_seed(1)
    randomize(network, generator)
    shutil.rmtree(path)
    network.save_pretrained(path)
    old = json.loads((folder / "text_encoder/config.json").read_text())
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=old["vocab_size"],
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=blocks,
            num_attention_heads=width // 64,
            max_position_embeddings=TOKENS,
            hidden_act="gelu",
        )
    )
    randomize(text, generator)
    shutil.rmtree(folder / "text_encoder")
    text.save_pretrained(folder / "text_encoder")
    return folder


@dataclass(frozen=True)
class Tower:
    """A version 2 of the real height: its folder, its tensors in one file, and what it reads."""

    folder: Path
    tensors: Mapping[str, Tensor]
    cond: Tensor


@pytest.fixture(scope="module")
def tower(folder_of: FolderOf, tmp_path_factory: pytest.TempPathFactory) -> Tower:
    """Return it, made once: a hundred million weights."""
    folder = Path(shutil.copytree(folder_of("sd21"), tmp_path_factory.mktemp("tower") / "sd21"))
    with_text_blocks(folder, width=1024, blocks=23)
    tensors = original_form(
        *(load_file(folder / part / f"{STEMS[part]}.safetensors") for part in STEMS),
        second=True,
        layers=23,
    )
    return Tower(folder, tensors, load(folder).encode_text(["the cat"]))


LEAVE = ["23 blocks", "24 blocks", "23 with projection", "24 without"]


def left(tensors: Mapping[str, Tensor], leave: str, prefix: str) -> dict[str, Tensor]:
    """Return a tower of 24 blocks with a projection without what exporters leave out."""
    kept = dict(tensors)
    if leave.startswith("23"):
        kept = {n: x for n, x in tensors.items() if ".resblocks.23." not in n}
    if leave in ("23 blocks", "24 without"):
        kept.pop(f"{prefix}text_projection")
    return kept


@pytest.mark.parametrize("leave", LEAVE)
def test_text_blocks_are_counted_on_the_names(leave: str) -> None:
    shapes = {"token_embedding.weight": (518, 1024), "positional_embedding": (16, 1024)}
    for block in range(24):
        shapes[f"transformer.resblocks.{block}.mlp.c_fc.weight"] = (4096, 1024)
    shapes["text_projection"] = (1024, 1024)
    whole = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    part = open_clip_text(Path("tower.safetensors"), left(whole, leave, ""))
    # Version 2 reads the text before the last of 24 blocks.
    assert part.config["num_hidden_layers"] == 23
    other = {n: x for n, x in whole.items() if not re.search(r"\.(1[2-9]|2\d)\.", n)}
    part = open_clip_text(Path("small.safetensors"), other)
    assert part.config["num_hidden_layers"] == 11
    other.pop("text_projection")
    assert open_clip_text(Path("small.safetensors"), other).config["num_hidden_layers"] == 12


@pytest.mark.slow
def test_text_blocks_of_a_folder_are_read_as_diffusers_reads_them(tower: Tower) -> None:
    expected = plain_pipeline(tower.folder).encode_prompt(["the cat"], "cpu", 1, False)[0]
    torch.testing.assert_close(tower.cond, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("leave", LEAVE)
def test_text_blocks_are_counted_on_the_file(tower: Tower, tmp_path: Path, leave: str) -> None:
    tensors = left(tower.tensors, leave, "cond_stage_model.model.")
    model = load(written(tmp_path, tower.folder, tensors))
    # The same weights at other places in memory.
    torch.testing.assert_close(model.encode_text(["the cat"]), tower.cond, rtol=1e-4, atol=1e-4)


def test_a_network_alone_is_a_part(
    folder_of: FolderOf, own_folder: Path, model_of: ModelOf, tmp_path: Path
) -> None:
    source = folder_of("sd15")
    network = {n: x for n, x in single(source, "sd15").items() if "diffusion_model." in n}
    path = written(tmp_path, source, network)
    with pytest.raises(MMHError, match=r"--base MODEL --unet \S*model\.safetensors"):
        load(path)
    assert_same(load(f"{source}::unet={path}"), model_of("sd15"))
