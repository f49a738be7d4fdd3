"""Configurations are data: of their types, no larger than the weights, and never code."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from mmh_core.records import MMHError
from mmh_core.text_to_image.assembly import recommended
from mmh_core.text_to_image.configuration import scheduler_config, text_config
from mmh_core.text_to_image.folder import check_config, check_index, checked_shapes
from mmh_core.text_to_image.hub import STEMS
from mmh_core.text_to_image.stable_diffusion import load, read
from mmh_core.text_to_image.weight_files import find_weights
from tests.text_to_image.conftest import ModelOf

FILES = {
    "model_index.json": "model_index.json",
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "text_encoder": "text_encoder/config.json",
    "scheduler": "scheduler/scheduler_config.json",
    "tokenizer": "tokenizer/tokenizer_config.json",
    "card": "model_card.json",
}
OTHERS: tuple[Any, ...] = (
    *(None, True, -1, 0, 2.5, 10**30, 1e300, "", "x", "../x", [], [None], ["x"], {}, [[1]]),
    *({"a": 1}, [1] * 300, "\ud800"),
)


def edit(folder: Path, part: str, **changes: Any) -> None:
    path = folder / FILES[part]
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


def check(folder: Path, part: str, content: dict[str, Any]) -> None:
    """Check a configuration as loading does, without reading the weights once more."""
    path = folder / FILES[part]
    if part == "model_index.json":
        check_index(content, "tiny")
    elif part == "card":
        found = recommended(content)
        assert isinstance(found.get("steps", 1), int) and found.get("guidance", 1.0) < 1e6
    elif part == "scheduler":
        scheduler_config(content, path)
    else:
        check_config(part, content, SHAPES[part], path, "tiny")


SHAPES: dict[str, dict[str, tuple[int, ...]]] = {}


@pytest.mark.parametrize("part", [part for part in FILES if part != "tokenizer"])
def test_a_field_of_another_type_is_a_sentence(own_folder: Path, part: str) -> None:
    path = own_folder / FILES[part]
    if part == "card":
        path.write_text(json.dumps({"guidance": 2.0, "steps": 30}))
    elif part in STEMS:
        SHAPES[part] = checked_shapes(part, find_weights(own_folder / part, STEMS[part]))[0]
    content = json.loads(path.read_text())
    check(own_folder, part, content)
    for number, field in enumerate(content):
        for other in OTHERS:
            try:
                check(own_folder, part, {**content, field: other})
            except MMHError as error:
                assert len(str(error)) < 1000
        # The whole way, for some of them.
        path.write_text(json.dumps({**content, field: OTHERS[number % len(OTHERS)]}))
        with suppress(MMHError):
            read(own_folder)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("unet", "attention_head_dim", [8]),
        ("unet", "attention_head_dim", 7),
        ("unet", "norm_num_groups", 7),
        ("unet", "act_fn", "gelu_new"),
        ("unet", "sample_size", [4, 8]),
        ("unet", "norm_eps", 0),
        ("vae", "norm_num_groups", 5),
        ("vae", "use_quant_conv", False),
        ("text_encoder", "num_attention_heads", 3),
        ("text_encoder", "layer_norm_eps", -1.0),
        ("text_encoder", "max_position_embeddings", 7),
        ("text_encoder", "vocab_size", 9),
        ("scheduler", "beta_start", 2.0),
        ("scheduler", "beta_end", -1.0),
        ("scheduler", "trained_betas", [0.1, 0.2]),
        ("scheduler", "num_train_timesteps", 1),
        ("tokenizer", "model_max_length", -3),
        ("tokenizer", "bos_token", {"content": "x", "lstrip": "no"}),
        ("tokenizer", "added_tokens_decoder", {"7": 3}),
        ("tokenizer", "extra_special_tokens", 3),
    ],
)
def test_a_field_of_the_right_type_builds_or_is_a_sentence(
    own_folder: Path, part: str, field: str, value: Any
) -> None:
    edit(own_folder, part, **{field: value})
    try:
        model = load(own_folder)
    except MMHError as error:
        assert len(str(error)) < 1000 and "torch." not in str(error)
    else:
        assert model.unconditional.shape[0] == 1


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"layers_per_block": 100_000}),
        ("unet", {"layers_per_block": [1, 100_000]}),
        ("unet", {"transformer_layers_per_block": 100_000}),
        ("unet", {"down_block_types": ["CrossAttnDownBlock2D"] * 8}),
        ("unet", {"up_block_types": ["CrossAttnUpBlock2D"] * 100_000}),
        ("unet", {"block_out_channels": [32] * 100_000}),
        ("vae", {"layers_per_block": 100_000}),
        ("vae", {"down_block_types": ["DownEncoderBlock2D"] * 5}),
        ("text_encoder", {"num_hidden_layers": 100_000}),
        ("text_encoder", {"num_hidden_layers": 3}),
        ("scheduler", {"num_train_timesteps": 10**9}),
        ("scheduler", {"trained_betas": [0.1] * 200_000}),
    ],
)
def test_a_configuration_asks_for_no_more_than_the_weights(
    own_folder: Path, part: str, changes: dict[str, Any]
) -> None:
    edit(own_folder, part, **changes)
    start = time.monotonic()
    with pytest.raises(MMHError, match=r"cannot be used"):
        read(own_folder)
    assert time.monotonic() - start < 5


CODE: dict[str, Any] = {
    "_attn_implementation": "owner/repo",
    "attn_implementation": "kernels-community/flash-attn",
    "_attn_implementation_internal": "owner/repo:Kernel",
    "_experts_implementation": "owner/repo",
    "auto_map": {
        "AutoModel": "owner/repo--code.Model",
        "AutoTokenizer": ["owner/repo--x.Y", None],
    },
    "custom_pipeline": "owner/repo",
    "trust_remote_code": True,
    "_name_or_path": "owner/repo",
    "name_or_path": "owner/repo",
    "_commit_hash": "main",
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "architectures": ["os.system"],
    "model_type": "evil",
    "torch_dtype": "__import__('os').system('x')",
    "dtype": "evil",
    "processor_class": "owner/repo",
    "tokenizer_class": "EvilTokenizer",
    "tokenizer_file": "/etc/hostname",
    "vocab_file": "/etc/hostname",
    "chat_template": "{{ ''.__class__.__mro__ }}",
    "use_kernels": True,
    "encoder_hid_proj": "x",
    "_class_name_of_other": "x",
    "gguf_file": "owner/repo",
    "adapter_kwargs": {"revision": "evil"},
}


def test_nothing_that_a_file_says_is_fetched_or_run(
    own_folder: Path, model_of: ModelOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object, **named: object) -> None:
        raise AssertionError(f"asked for {given[:2]}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(subprocess.Popen, "__init__", refused)
    for part in ("unet", "vae", "text_encoder", "scheduler", "tokenizer", "card"):
        edit(own_folder, part, **CODE)
    for name in ("code.py", "modeling.py", "pipeline.py", "unet/my_unet.py", "tokenizer/x.py"):
        (own_folder / name).write_text("raise SystemExit('run')")
    model = load(own_folder)
    torch.testing.assert_close(model.unconditional, model_of("tiny").unconditional)
    assert not CODE.keys() & set(model.scheduler)


def test_what_a_text_encoder_of_clip_nests_is_read() -> None:
    shapes = {f"encoder.layers.{i}.x": (1,) for i in range(3)}
    inner = {"hidden_size": 32, "num_hidden_layers": 2, "auto_map": {}}
    nested = {"model_type": "clip", "text_config": inner, "hidden_size": 7}
    found = text_config(nested, shapes, Path("x"))
    assert found == {"hidden_size": 32, "num_hidden_layers": 2}


def test_what_schedulers_need_is_kept(tmp_path: Path) -> None:
    given = {
        "_class_name": "EulerDiscreteScheduler",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "lambda_min_clipped": float("-inf"),
        "trained_betas": None,
        "variance_type": None,
        "final_sigmas_type": "zero",
        "solver_order": 2,
    }
    assert scheduler_config({**given, "unknown": 3, "_diffusers_version": "1"}, tmp_path) == given
