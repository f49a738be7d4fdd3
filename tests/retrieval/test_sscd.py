"""SSCD's network is ResNet-50 with generalized-mean pooling, and only safe files are opened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mmh_core.records import MMHError
from mmh_core.retrieval.embedder_choice import load_embedder
from mmh_core.retrieval.sscd import GeneralizedMean, Sscd, sscd_embedder
from mmh_core.retrieval.weights import read_weights


@pytest.fixture(scope="module")
def network() -> Sscd:
    """Return the network with random weights and statistics, so that no term is without effect."""
    torch.manual_seed(0)
    made = Sscd().eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return made


@pytest.fixture(scope="module")
def saved(network: Sscd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sscd") / "sscd.safetensors"
    save_file(network.state_dict(), path)
    return path


def test_generalized_mean_of_known_values() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, -5.0]])[None, None]
    # (1 + 8 + 27 + 0) / 4 = 9, to the power of 1/3.
    torch.testing.assert_close(GeneralizedMean()(x), torch.tensor([[9 ** (1 / 3)]]))
    torch.testing.assert_close(GeneralizedMean(1.0)(x.abs()), torch.tensor([[11 / 4]]))
    # 4^(-1/30) of the maximum, 5 %, is what the other three take off at p = 30.
    assert abs(GeneralizedMean(30.0)(x.abs()).item() - 5 * 4 ** (-1 / 30)) < 1e-3


def test_the_trunk_is_resnet_50(network: Sscd) -> None:
    from transformers import ResNetConfig, ResNetModel

    oracle = ResNetModel(ResNetConfig(downsample_in_bottleneck=False)).eval()

    def native(name: str) -> str:
        """Return our name of a parameter in transformers' model."""
        name = re.sub(r"embedder\.embedder\.", "X1.", name)
        name = re.sub(r"encoder\.stages\.(\d)\.layers\.", lambda m: f"layer{int(m[1]) + 1}.", name)
        name = re.sub(r"layer\.(\d)\.", lambda m: f"X{int(m[1]) + 1}.", name)
        name = name.replace("shortcut.convolution", "downsample.0")
        name = name.replace("shortcut.normalization", "downsample.1")
        name = re.sub(r"X(\d)\.convolution", r"conv\1", name)
        return re.sub(r"X(\d)\.normalization", r"bn\1", name)

    ours = network.backbone.state_dict()
    oracle.load_state_dict({name: ours[native(name)] for name in oracle.state_dict()})
    images = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pooled = GeneralizedMean()(oracle(images).last_hidden_state)
        wanted = F.normalize(pooled @ ours["fc.weight"].T + ours["fc.bias"])
    # Float32 through 50 layers, of unit vectors; another stride or order is off by 1e-1.
    torch.testing.assert_close(network(images), wanted, atol=1e-5, rtol=0)


def test_the_file_gives_the_network_back(network: Sscd, saved: Path) -> None:
    embedder = load_embedder(f"sscd:{saved}")
    images = torch.rand(2, 3, 60, 80, generator=torch.Generator().manual_seed(2))
    resized = F.interpolate(images, (288, 384), mode="bilinear", antialias=True)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    wanted = network((resized - mean) / std)
    torch.testing.assert_close(embedder(images), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(wanted.norm(dim=1), torch.ones(2))
    assert (embedder.name, embedder.dim) == ("sscd", 512)
    assert embedder.preprocessing.startswith("bilinear to short edge 288, minus (0.485")
    assert len(embedder.digest) == 64


def classy(name: str) -> str:
    """Return the name that Classy Vision gives a parameter of ours."""
    parts = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6}
    if name.startswith("backbone.fc."):
        return name.replace("backbone.fc.", "embeddings.1.")
    if block := re.fullmatch(r"backbone\.layer(\d)\.(\d)\.(\w+)\.(.+)", name):
        stage, number, part, rest = block.groups()
        place = f"backbone.blocks.{int(stage) - 1}.block{int(stage) - 1}-{number}._module."
        middle = f"convolutional_block.{parts[part]}" if part in parts else part
        return place + ("bn" if part == "bn3" else middle) + f".{rest}"
    number = {"backbone.conv1": 0, "backbone.bn1": 1}[name.rsplit(".", 1)[0]]
    return f"backbone.initial_block._module.{number}.{name.rsplit('.', 1)[1]}"


def test_names_of_classy_vision_are_understood(network: Sscd, tmp_path: Path) -> None:
    state = {classy(name): tensor for name, tensor in network.state_dict().items()}
    assert len(state) == len(network.state_dict())
    save_file(state, tmp_path / "classy.safetensors")
    loaded = sscd_embedder(tmp_path / "classy.safetensors").network.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_half_precision_and_missing_counters_are_no_obstacle(
    network: Sscd, tmp_path: Path
) -> None:
    state = {
        name: tensor.half()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, tmp_path / "half.safetensors")
    loaded = sscd_embedder(tmp_path / "half.safetensors").network.state_dict()
    weight = loaded["backbone.layer3.2.conv2.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["backbone.layer3.2.conv2.weight"].float())


def refused(path: Path, match: str) -> None:
    with pytest.raises(MMHError, match=match):
        sscd_embedder(path)


def test_pickles_are_refused_by_content_with_the_way_to_convert(tmp_path: Path) -> None:
    path = tmp_path / "sscd.safetensors"
    way = r"pickle or TorchScript.*convert.*torch\.jit\.load.*save_file"
    torch.save({"x": torch.zeros(1)}, path)
    refused(path, way)
    torch.save({"x": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    refused(path, way)


def test_other_files_are_refused(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    refused(path, r"cannot be read \(No such file")
    path.write_bytes(b"")
    refused(path, "not a safetensors file")
    path.write_bytes(b"hello, this is text")
    refused(path, "not a safetensors file")
    path.write_bytes(saved.read_bytes()[:10_000_000])
    refused(path, "is damaged")
    save_file({"backbone.fc.weight": torch.zeros(512, 2048)}, path)
    refused(path, "does not hold the parameters of SSCD")


def test_a_network_of_other_widths_is_refused(network: Sscd, tmp_path: Path) -> None:
    state: dict[str, Tensor] = dict(network.state_dict())
    state["backbone.layer2.0.conv2.weight"] = torch.zeros(256, 8, 3, 3)
    save_file(state, tmp_path / "wide.safetensors")
    refused(tmp_path / "wide.safetensors", "does not hold the parameters of SSCD")


@pytest.mark.parametrize(("length", "start"), [(128, b"\x80"), (19_280, b"PK")])
def test_a_safetensors_header_of_any_length_is_told_from_a_pickle(
    length: int, start: bytes, tmp_path: Path
) -> None:
    # Its length, which comes first, may look like the start of a pickle or of a zip archive.
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.ones(2)}, path, {"note": ""})
    empty = int.from_bytes(path.read_bytes()[:8], "little")
    for filler in range(length - empty - 8, length - empty + 9):
        save_file({"weight": torch.ones(2)}, path, {"note": "n" * filler})
        if int.from_bytes(path.read_bytes()[:8], "little") == length:
            break
    assert path.read_bytes().startswith(start)
    assert torch.equal(read_weights(path, "no")["weight"], torch.ones(2))
