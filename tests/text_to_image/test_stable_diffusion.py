"""Loading: what arrives is what diffusers has, and what must not be loaded is refused."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mmh_core.diffusion.schedule import Discrete
from mmh_core.records import MMHError
from mmh_core.text_to_image import weights
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.model import TextToImage, latent_net
from mmh_core.text_to_image.stable_diffusion import check_model, load, parameter_counts
from tests.text_to_image.conftest import FolderOf, ModelOf
from tests.text_to_image.pipelines import plain_pipeline, write_tokenizer

WEIGHTS = (
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
)
UNET = "unet/diffusion_pytorch_model.safetensors"


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: x for key, x in content.items() if x is not None}))


def write_manifest(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    listed = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    (folder / "manifest.json").write_text(json.dumps({"version": 1, "files": listed}))
    return listed


# What arrives


@pytest.mark.parametrize("kind", ["tiny", "tiny-v", "sd15"])
def test_alpha_and_sigma_are_the_schedulers(
    folder_of: FolderOf, model_of: ModelOf, kind: str
) -> None:
    pipeline, model = plain_pipeline(folder_of(kind)), model_of(kind)
    table = pipeline.scheduler.alphas_cumprod.double()
    steps = torch.arange(len(table))
    t = model.schedule.time_of_step(steps.double())
    # One logarithm and one logistic function in float64.
    torch.testing.assert_close(model.schedule.alpha(t), table.sqrt(), rtol=1e-13, atol=0)
    torch.testing.assert_close(model.schedule.sigma(t), (1 - table).sqrt(), rtol=1e-13, atol=0)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 1000, 4, 2, 2, generator=generator)
    noised = pipeline.scheduler.add_noise(x0, eps, steps)
    # diffusers works in float32: two roundings of numbers near 1 to 5.
    torch.testing.assert_close(model.score_model.noised(x0, eps, t), noised, rtol=0, atol=2e-6)


def test_the_network_is_fed_whole_steps_on_steps_and_fractions_between() -> None:
    fed: list[torch.Tensor] = []

    class Recorder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))

        def forward(self, x: Any, step: Any, cond: Any, return_dict: bool) -> Any:
            fed.append(step)
            return (torch.cat([x, 7 + x], dim=1),)

    schedule = Discrete(tuple(torch.linspace(0.99, 0.01, 1000).tolist()))
    net = latent_net(Recorder(), schedule, torch.zeros(1, 1, 1))
    steps = torch.arange(1000)
    x = torch.randn(1000, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    output = net(x, ((steps + 1) / 1000).float(), None)
    assert fed[0].dtype == torch.float32
    assert torch.equal(fed[0], steps.float())
    # Half precision inside, the caller's type outside, and no learned variance.
    assert torch.equal(output, x.bfloat16().float())
    net(x, ((steps + 0.5) / 1000).float(), None)
    assert fed[1][1:].tolist() == pytest.approx((steps[1:] - 0.5).tolist(), abs=1e-3)


@pytest.mark.parametrize("kind", ["tiny", "tiny-v", "tiny-x0"])
def test_the_score_model_says_what_diffusers_network_says(
    folder_of: FolderOf, model_of: ModelOf, kind: str
) -> None:
    pipeline, model = plain_pipeline(folder_of(kind)), model_of(kind)
    x_t = torch.randn(2, *model.score_model.shape, generator=torch.Generator().manual_seed(0))
    cond, empty = pipeline.encode_prompt(["the cat", "a dog"], "cpu", 1, True)
    steps = torch.tensor([20, 700])
    abar = pipeline.scheduler.alphas_cumprod[steps].reshape(-1, 1, 1, 1)
    alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
    for given, embedding in ((model.encode_text(["the cat", "a dog"]), cond), (None, empty)):
        with torch.no_grad():
            said = pipeline.unet(x_t, steps, embedding).sample
            eps = model.score_model.eps(x_t, (steps + 1) / 1000, given)
        expected = {
            "tiny": said,
            "tiny-v": alpha * said + sigma * x_t,
            "tiny-x0": (x_t - alpha * said) / sigma,
        }[kind]
        # Float32; division by sigma = .15 at step 20 multiplies its rounding by 7.
        torch.testing.assert_close(eps, expected, rtol=1e-5, atol=1e-5)


def test_the_same_image_encodes_to_the_same_latents(
    folder_of: FolderOf, model_of: ModelOf
) -> None:
    pipeline, model = plain_pipeline(folder_of("tiny")), model_of("tiny")
    pixels = torch.randint(0, 256, (40, 48, 3), generator=torch.Generator().manual_seed(0))
    shades = pixels.to(torch.uint8).numpy()
    image, images = Image.fromarray(shades), pixels[None].permute(0, 3, 1, 2) / 255
    for given in (images, image):
        with torch.no_grad():
            posterior = pipeline.vae.encode(pipeline.image_processor.preprocess(given)).latent_dist
        theirs = posterior.mode() * pipeline.vae.config.scaling_factor
        ours = model.encode(images)
        # Sums in another order, over latents of size 1.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_prompts_encode_as_in_diffusers_and_long_ones_are_cut(
    folder_of: FolderOf, model_of: ModelOf
) -> None:
    pipeline, model = plain_pipeline(folder_of("tiny")), model_of("tiny")
    prompts = ["the cat", "", "the cat " * 40, "Æ 猫\n🙂"]
    theirs = pipeline.encode_prompt(prompts, "cpu", 1, False)[0]
    # Sums in another order: embeddings are of size 1, those of other prompts some units apart.
    torch.testing.assert_close(model.encode_text(prompts), theirs, rtol=0, atol=1e-5)
    assert not torch.equal(*model.encode_text(["the cat", "a dog"]))
    assert torch.equal(model.unconditional, model.encode_text([""]))


def test_wrong_inputs_are_refused(model_of: ModelOf) -> None:
    model = model_of("tiny")
    with pytest.raises(ValueError, match="list of at least one text"):
        model.encode_text("the cat")
    with pytest.raises(ValueError, match="list of at least one text"):
        model.encode_text([])
    with pytest.raises(ValueError, match=r"multiples of 8, got 36 x 32"):
        model.encode(torch.zeros(1, 3, 36, 32))
    with pytest.raises(ValueError, match="dtype must be one of"):
        load("pocket-sd", dtype=torch.float64)


def test_gradients_reach_inputs_and_never_weights(model_of: ModelOf) -> None:
    model = model_of("tiny")
    images = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    latents = model.encode(images)
    model.decode(latents).mean().backward()
    assert images.grad is not None and bool(images.grad.abs().sum() > 0)
    networks = (model.unet, model.autoencoder, model.text_encoder)
    assert not any(weight.requires_grad for net in networks for weight in net.parameters())


def test_half_stored_weights_load_as_float32_and_the_other_way_round(
    own_folder: Path, model_of: ModelOf
) -> None:
    for name in WEIGHTS:
        tensors = {key: x.half() for key, x in load_file(own_folder / name).items()}
        save_file(tensors, own_folder / name)
    whole, stored = model_of("tiny"), load(own_folder)
    assert stored.dtype == torch.float32
    for weight, original in zip(stored.unet.parameters(), whole.unet.parameters(), strict=True):
        assert torch.equal(weight, original.half().float())
    assert load(own_folder, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_the_half_precision_variant_is_found(own_folder: Path, model_of: ModelOf) -> None:
    for name in WEIGHTS:
        path = own_folder / name
        path.rename(path.with_suffix(".fp16.safetensors"))
    model = load(own_folder)
    # Equal weights at another place in memory: sums in another order.
    expected = model_of("tiny").unconditional
    torch.testing.assert_close(model.unconditional, expected, rtol=0, atol=1e-5)


def test_an_autoencoder_with_the_old_names_is_the_same(
    own_folder: Path, model_of: ModelOf
) -> None:
    path = own_folder / "vae/diffusion_pytorch_model.safetensors"
    old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}

    def renamed(name: str) -> str:
        for new, before in old.items():
            name = name.replace(new, before)
        return name

    save_file({renamed(name): x for name, x in load_file(path).items()}, path)
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = model_of("tiny").decode(latents)
    # The file's order of tensors, so their alignment in memory and the last digits, may differ.
    torch.testing.assert_close(load(own_folder).decode(latents), expected, rtol=0, atol=1e-5)


def test_files_of_2022_are_the_same_model(own_folder: Path, model_of: ModelOf) -> None:
    """As published then: other names, fewer settings, a safety checker that is not here."""
    edit(
        own_folder / "model_index.json",
        _diffusers_version="0.6.0",
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPFeatureExtractor"],
    )
    path = own_folder / "text_encoder/model.safetensors"
    tensors = {f"text_model.{name}": x for name, x in load_file(path).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(tensors, path)
    edit(
        own_folder / "text_encoder/config.json",
        dtype=None,
        torch_dtype="float32",
        transformers_version="4.22.0.dev0",
        model_type="clip_text_model",
    )
    unet = own_folder / "unet/config.json"
    kept = ("block_out_channels", "down_block_types", "up_block_types", "attention_head_dim")
    kept += ("cross_attention_dim", "layers_per_block", "sample_size")
    content = json.loads(unet.read_text())
    unet.write_text(json.dumps({name: content[name] for name in kept}))
    write_old_tokenizer(own_folder / "tokenizer")
    model, expected = load(own_folder), model_of("tiny")
    prompts = ["The Cat", ""]
    # The files' order of tensors, so their alignment and the last digits, may differ.
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(model.encode_text(prompts), expected.encode_text(prompts), **close)
    x_t = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        model.score_model.eps(x_t, 0.5), expected.score_model.eps(x_t, 0.5), **close
    )


def write_old_tokenizer(folder: Path) -> None:
    """Write a tokenizer in the files that there were before tokenizer.json."""
    shutil.rmtree(folder)
    write_tokenizer(folder)
    token = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False}
    edit(
        folder / "tokenizer_config.json",
        bos_token={**token, "content": "<|startoftext|>", "single_word": False},
        do_lower_case=True,
        add_prefix_space=False,
        errors="replace",
        name_or_path="openai/clip-vit-large-patch14",
    )


def test_a_model_card_recommends(own_folder: Path) -> None:
    assert (load(own_folder).guidance, load(own_folder).steps) == (7.5, 50)
    (own_folder / "model_card.json").write_text('{"guidance": 2, "steps": 30, "seed": 1}')
    assert (load(own_folder).guidance, load(own_folder).steps) == (2.0, 30)


def test_the_digest_is_that_of_the_weights_alone(own_folder: Path) -> None:
    lines = "".join(
        f"{hashlib.sha256((own_folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in WEIGHTS
    )
    digest = load(own_folder).sha256
    assert digest == hashlib.sha256(lines.encode()).hexdigest()
    (own_folder / "README.md").write_text("changed")
    assert load(own_folder).sha256 == digest
    tensors = load_file(own_folder / UNET)
    tensors["conv_in.bias"] += 1
    save_file(tensors, own_folder / UNET)
    assert load(own_folder).sha256 != digest


def test_zero_terminal_signal_is_kept_above_zero(own_folder: Path) -> None:
    edit(own_folder / "scheduler/scheduler_config.json", rescale_betas_zero_snr=True)
    table = load(own_folder).schedule.alphas_cumprod
    assert table[-1] == 2.0**-24
    assert table[-2] > table[-1]


# What is refused


class Payload:
    """Leave a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def pickled(mark: Path, how: str) -> bytes:
    if how == "raw":
        return pickle.dumps(Payload(mark))
    file = io.BytesIO()
    torch.save(Payload(mark), file, _use_new_zipfile_serialization=how == "zip")
    return file.getvalue()


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("how", ["raw", "zip", "legacy"])
def test_a_pickle_under_any_name_is_refused_unopened(
    own_folder: Path, tmp_path: Path, name: str, how: str
) -> None:
    mark = tmp_path / "executed"
    (own_folder / name).write_bytes(pickled(mark, how))
    with pytest.raises(MMHError, match=r"is a pickle.*choose a safetensors version"):
        load(own_folder)
    single = tmp_path / "model.safetensors"
    single.write_bytes(pickled(mark, how))
    with pytest.raises(MMHError, match="is a pickle"):
        load(single)
    assert not mark.exists()


def test_a_folder_with_nothing_but_pickles_is_refused(own_folder: Path, tmp_path: Path) -> None:
    path = own_folder / UNET
    path.with_suffix(".bin").write_bytes(pickled(tmp_path / "executed", "zip"))
    path.unlink()
    with pytest.raises(MMHError, match=r"diffusion_pytorch_model\.bin"):
        load(own_folder)
    assert not (tmp_path / "executed").exists()


def test_a_shard_index_that_points_elsewhere_is_not_followed(
    own_folder: Path, tmp_path: Path, model_of: ModelOf
) -> None:
    mark = tmp_path / "executed"
    (own_folder / "unet/evil.bin").write_bytes(pickled(mark, "zip"))
    index = {"metadata": {}, "weight_map": {"conv_in.bias": "evil.bin"}}
    for suffix in ("safetensors", "bin"):
        path = own_folder / f"unet/diffusion_pytorch_model.{suffix}.index.json"
        path.write_text(json.dumps(index))
    assert load(own_folder).sha256 == model_of("tiny").sha256
    assert not mark.exists()


MISSING = (
    *WEIGHTS,
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "unet/config.json",
    "vae/config.json",
)


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_file_is_named(own_folder: Path, name: str) -> None:
    (own_folder / name).unlink()
    with pytest.raises(MMHError, match=f"{name} is missing"):
        load(own_folder)


def test_a_missing_tokenizer_is_named(own_folder: Path) -> None:
    shutil.rmtree(own_folder / "tokenizer")
    with pytest.raises(MMHError, match=r"tokenizer is missing.*vocab\.json"):
        load(own_folder)


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("how", ["cut", "noise", "empty"])
def test_a_damaged_file_is_named(own_folder: Path, name: str, how: str) -> None:
    path = own_folder / name
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[: len(content) // 2], "noise": b"\x93\xff" * 99, "empty": b""}[how]
    )
    with pytest.raises(MMHError, match=f"{name}.*damaged.*again"):
        load(own_folder)


def test_a_damaged_tokenizer_is_named(own_folder: Path) -> None:
    (own_folder / "tokenizer/tokenizer.json").write_text("{")
    with pytest.raises(MMHError, match=r"tokenizer in .* cannot be used"):
        load(own_folder)


def test_weights_that_miss_a_tensor_or_have_another_shape_are_refused(own_folder: Path) -> None:
    tensors = load_file(own_folder / UNET)
    bias = tensors.pop("conv_in.bias")
    save_file(tensors, own_folder / UNET)
    with pytest.raises(MMHError, match=r"does not hold the tensor conv_in\.bias of shape \(32,\)"):
        load(own_folder)
    save_file({**tensors, "conv_in.bias": bias[:-1].clone()}, own_folder / UNET)
    with pytest.raises(MMHError, match=r"conv_in\.bias"):
        load(own_folder)


def test_a_configuration_that_builds_nothing_is_refused(own_folder: Path) -> None:
    edit(own_folder / "unet/config.json", down_block_types=["NoSuchBlock", "DownBlock2D"])
    with pytest.raises(MMHError, match=r"configuration of .* cannot be used"):
        load(own_folder)


def test_a_tokenizer_of_another_model_is_refused(own_folder: Path) -> None:
    path = own_folder / "tokenizer/tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["!!</w>"] = 40_000
    path.write_text(json.dumps(content))
    with pytest.raises(MMHError, match=r"40,001 tokens and the text encoder knows 518"):
        load(own_folder)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}),
        ("model_index.json", {"_class_name": ["my_pipeline", "MyPipeline"]}),
        ("model_index.json", {"unet": ["my_unet", "MyUNet"]}),
        ("model_index.json", {"unet": ["diffusers", "os.system"]}),
        ("model_index.json", {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}),
        ("model_index.json", {"text_encoder": ["transformers", "T5EncoderModel"]}),
        ("model_index.json", {"vae": None}),
        ("model_index.json", {"image_encoder": ["transformers", "CLIPVisionModel"]}),
        ("unet/config.json", {"in_channels": 9}),
        ("unet/config.json", {"out_channels": 3}),
        ("unet/config.json", {"time_cond_proj_dim": 256}),
        ("unet/config.json", {"addition_embed_type": "text_time"}),
        ("unet/config.json", {"cross_attention_dim": 768}),
        ("vae/config.json", {"shift_factor": 0.1}),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}),
        ("scheduler/scheduler_config.json", {"use_flow_sigmas": True}),
        ("scheduler/scheduler_config.json", {"use_dynamic_shifting": True}),
        ("scheduler/scheduler_config.json", {"base_shift": 0.5}),
        ("scheduler/scheduler_config.json", {"_class_name": "LCMScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": "TCDScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchHeunDiscreteScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": "CMStochasticIterativeScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": "SCMScheduler"}),
        ("scheduler/scheduler_config.json", {"_class_name": ["LCMScheduler"]}),
        ("scheduler/scheduler_config.json", {"_class_name": "os.system"}),
    ],
    ids=str,
)
def test_other_kinds_of_models_are_refused(
    own_folder: Path, name: str, changes: dict[str, Any]
) -> None:
    edit(own_folder / name, **changes)
    with pytest.raises(MMHError, match="is not a Stable Diffusion 1 or 2 text-to-image model"):
        load(own_folder)


@pytest.mark.parametrize("kind", ["LCMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_scheduler_in_its_own_file_alone_is_noticed_from_headers(
    own_folder: Path, kind: str
) -> None:
    edit(own_folder / "scheduler/scheduler_config.json", _class_name=kind)
    with pytest.raises(MMHError, match=f"{kind}.*put that model's scheduler into it"):
        check_model(str(own_folder))


@pytest.mark.parametrize("kind", [None, "PNDMScheduler", "EulerDiscreteScheduler"])
def test_a_scheduler_of_stable_diffusion_loads_whatever_the_index_says(
    own_folder: Path, kind: str | None
) -> None:
    edit(own_folder / "scheduler/scheduler_config.json", _class_name=kind)
    check_model(str(own_folder))


def test_a_broken_noise_schedule_is_refused(own_folder: Path) -> None:
    edit(own_folder / "scheduler/scheduler_config.json", beta_schedule="no such")
    with pytest.raises(MMHError, match="noise schedule"):
        load(own_folder)


def test_a_folder_that_keeps_its_manifest_loads(own_folder: Path, model_of: ModelOf) -> None:
    write_manifest(own_folder)
    assert load(own_folder).sha256 == model_of("tiny").sha256


@pytest.mark.parametrize("name", [*WEIGHTS, "unet/config.json", "tokenizer/tokenizer.json"])
def test_a_digest_that_does_not_match_is_named(own_folder: Path, name: str) -> None:
    write_manifest(own_folder)
    content = bytearray((own_folder / name).read_bytes())
    content[-9] ^= 1
    (own_folder / name).write_bytes(content)
    with pytest.raises(MMHError, match=f"{name} is not the file that .*SHA-256 differs"):
        load(own_folder)


def test_a_manifest_that_does_not_cover_a_file_is_refused(own_folder: Path) -> None:
    listed = write_manifest(own_folder)
    manifest = own_folder / "manifest.json"
    for name in (UNET, "unet/config.json", "tokenizer/tokenizer.json"):
        rest = {key: x for key, x in listed.items() if key != name}
        manifest.write_text(json.dumps({"files": rest}))
        with pytest.raises(MMHError, match=f"{name} is not listed"):
            load(own_folder)
    manifest.write_text(json.dumps({"files": {**listed, "gone.bin": "0" * 64}}))
    with pytest.raises(MMHError, match=r"gone\.bin is missing"):
        load(own_folder)
    manifest.write_text(json.dumps(listed))
    with pytest.raises(MMHError, match="does not list files"):
        load(own_folder)


@pytest.mark.parametrize("outside", ["../secret", "/etc/hostname"])
def test_a_manifest_is_kept_inside_its_folder(own_folder: Path, outside: str) -> None:
    listed = write_manifest(own_folder)
    manifest = {"files": {**listed, outside: "0" * 64}}
    (own_folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MMHError, match="does not list files"):
        load(own_folder)


def test_too_little_memory_is_noticed_beforehand(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = sum(parameter_counts(str(own_folder)).values())
    counted = sum(x.numel() for name in WEIGHTS for x in load_file(own_folder / name).values())
    assert numbers == counted
    monkeypatch.setattr(weights, "free_memory", lambda device: int(4 * 1.25 * numbers) - 1)
    with pytest.raises(MMHError, match=r"needs about .* GB of memory on cpu"):
        load(own_folder)
    assert load(own_folder, dtype=torch.bfloat16).dtype == torch.bfloat16
    monkeypatch.setattr(weights, "free_memory", lambda device: None)
    load(own_folder)


def test_free_memory_is_read_where_the_system_tells_it() -> None:
    free = weights.free_memory(torch.device("cpu"))
    assert (free is not None) == Path("/proc/meminfo").exists()
    assert free is None or 2**20 < free < 2**50


def test_what_does_not_exist_is_said_with_the_choices(elsewhere: Path) -> None:
    # Not where somebody happens to have a file of one of these names.
    for name in ("no-such-model", "a/b/c", str(elsewhere / "nothing"), "../x", "assets/no-model"):
        with pytest.raises(MMHError, match=r"does not exist: give a folder.*pocket-sd"):
            load(name)


def test_a_missing_shipped_model_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(CATALOGUE["pocket-sd"], source=str(tmp_path / "pocket-sd"))
    monkeypatch.setitem(CATALOGUE, "pocket-sd", gone)
    with pytest.raises(MMHError, match=r"pocket-sd is missing: .*`\./mmh pocket build`"):
        load("pocket-sd")


def test_a_catalogue_name_stands_for_its_folder(
    own_folder: Path, model_of: ModelOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(CATALOGUE["pocket-sd"], source=str(own_folder))
    monkeypatch.setitem(CATALOGUE, "pocket-sd", here)
    model = load("pocket-sd")
    assert (model.name, model.sha256) == ("pocket-sd", model_of("tiny").sha256)


# The Hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the cache of the Hub by an empty one, and its address by one that refuses."""
    from huggingface_hub import HfApi, constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    ask = HfApi.model_info

    def refused(api: HfApi, name: str, **settings: Any) -> Any:
        api.endpoint = "http://127.0.0.1:9"
        return ask(api, name, **settings)

    monkeypatch.setattr(HfApi, "model_info", refused)
    return cache


def test_without_a_network_a_hub_name_fails_at_once(hub: Path) -> None:
    start = time.monotonic()
    with pytest.raises(
        MMHError, match=r"someone/model .*connect to the network, or give a folder"
    ):
        load("hub:someone/model")
    assert time.monotonic() - start < 5
    with pytest.raises(MMHError, match="stable-diffusion-v1-5/stable-diffusion-v1-5 is not on"):
        load("sd-1.5")


def test_an_earlier_download_needs_no_network(
    hub: Path, own_folder: Path, model_of: ModelOf
) -> None:
    place = hub / "models--someone--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("a" * 40)
    snapshot = place / "snapshots" / ("a" * 40)
    shutil.copytree(own_folder, snapshot)
    model: TextToImage = load("someone/tiny")
    assert model.name == "someone/tiny"
    assert model.sha256 == model_of("tiny").sha256
    # Half a download is not taken for a whole one.
    (snapshot / UNET).unlink()
    with pytest.raises(MMHError, match="connect to the network"):
        load("someone/tiny")


def test_the_catalogue_names_what_can_be_loaded() -> None:
    assert list(CATALOGUE) == ["pocket-sd", "sd-1.4", "sd-1.5", "sd-2.1"]
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        # Float32 and a quarter: what the loader will ask for.
        if not entry.shipped:
            assert entry.memory_gb == pytest.approx(1.25 * entry.download_gb, rel=0.02)
