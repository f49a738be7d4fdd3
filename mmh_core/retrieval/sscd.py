"""Describe images by SSCD, a self-supervised copy detector (Pizzi et al. 2022, CVPR).

ResNet-50 trunk (He et al. 2016, stride in the 3 x 3 convolution), generalized-mean pooling with
p = 3, a linear map to 512 numbers, length 1. Written from the paper; the names of the parameters
are those of the published checkpoints, of which three forms exist: `.torchvision.pt`, whose names
are used here, and `.classy.pt` and `.torchscript.pt`, whose trunk may be named in Classy Vision's
way and is renamed on loading.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import NetworkEmbedder, Preprocessing, files_digest
from mmh_core.retrieval.weights import read_weights

CONVERT = (
    "convert the published file once, on a machine where you trust it, with `import torch, "
    "safetensors.torch as s; m = torch.jit.load('sscd_disc_mixup.torchscript.pt'); "
    "s.save_file({k: v.clone() for k, v in m.state_dict().items()}, 'sscd.safetensors')`, and "
    "name the new file."
)
#: ImageNet's colors, and the short edge that SSCD's authors recommend.
PREPROCESSING = Preprocessing(288, "short edge", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BLOCKS = (3, 4, 6, 3)
EXPANSION = 4


class GeneralizedMean(nn.Module):
    """Generalized-mean pooling of (B, C, h, w) to (B, C): `mean(max(x, 1e-6)^p)^(1/p)`.

    Radenovic et al. 2018, Eq. 3: p = 1 is the mean, large p tends to the maximum.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return one number per channel."""
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class Bottleneck(nn.Module):
    """A residual block of 1 x 1, 3 x 3 and 1 x 1 convolutions."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        kept: Tensor = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(y)) + kept)


class ResNet50(nn.Module):
    """A ResNet-50 from images (B, 3, h, w) to (B, dim) with generalized-mean pooling."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, BLOCKS[0], stride=1)
        self.layer2 = _stage(256, 128, BLOCKS[1], stride=2)
        self.layer3 = _stage(512, 256, BLOCKS[2], stride=2)
        self.layer4 = _stage(1024, 512, BLOCKS[3], stride=2)
        self.avgpool = GeneralizedMean()
        self.fc = nn.Linear(2048, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return descriptors, not yet of length 1."""
        y = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        descriptors: Tensor = self.fc(self.avgpool(y))
        return descriptors


class Sscd(nn.Module):
    """The SSCD network from prepared images (B, 3, h, w) to descriptors (B, dim) of length 1."""

    def __init__(self, dim: int = 512) -> None:
        super().__init__()
        self.backbone = ResNet50(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return descriptors of length 1."""
        return F.normalize(self.backbone(x))


def sscd_embedder(path: Path) -> NetworkEmbedder:
    """Load SSCD with a ResNet-50 trunk from a local safetensors file.

    Similarity above .5 is the copy of an object, above .7 a strict copy (as used by Somepalli et
    al. 2023), for images whose short edge is 288. Raises MMHError, with the way to convert a
    published file, for a pickle or TorchScript under any name, and for a file that is missing,
    damaged or holds another network.
    """
    weights = {
        _native(name): tensor.float() for name, tensor in read_weights(path, CONVERT).items()
    }
    last = weights.get("backbone.fc.weight")
    network = Sscd(last.shape[0] if last is not None and last.ndim == 2 else 512)
    expected = network.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    fits = set(expected) - counters <= set(weights) <= set(expected)
    if not fits or any(weights[name].shape != expected[name].shape for name in weights):
        raise MMHError(
            f"{path} does not hold the parameters of SSCD with a ResNet-50 trunk: use "
            "sscd_disc_mixup, converted to safetensors."
        )
    network.load_state_dict(weights, strict=False)  # The counters play no part in evaluation.
    network.eval().requires_grad_(False)
    dim = network.backbone.fc.out_features
    return NetworkEmbedder("sscd", network, PREPROCESSING, dim, files_digest([path]))


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride)
    return nn.Sequential(
        first, *(Bottleneck(width * EXPANSION, width, 1) for _ in range(blocks - 1))
    )


_CLASSY_BLOCK = re.compile(r"backbone\.blocks\.(\d)\.(?:block\d-)?(\d)\.(.+)")
_CLASSY_PARTS = {
    "convolutional_block.0.": "conv1.",
    "convolutional_block.1.": "bn1.",
    "convolutional_block.3.": "conv2.",
    "convolutional_block.4.": "bn2.",
    "convolutional_block.6.": "conv3.",
    "bn.": "bn3.",
    "downsample.": "downsample.",
}
_CLASSY_ENDS = {
    "backbone.initial_block.0.": "backbone.conv1.",
    "backbone.initial_block.1.": "backbone.bn1.",
    "embeddings.1.": "backbone.fc.",
}


def _native(name: str) -> str:
    """Return the name used here for a parameter named in Classy Vision's way or in ours."""
    plain = name.replace("._module.", ".")
    for old, new in _CLASSY_ENDS.items():
        if plain.startswith(old):
            return new + plain.removeprefix(old)
    if block := _CLASSY_BLOCK.fullmatch(plain):
        stage, number, rest = block.groups()
        for old, new in _CLASSY_PARTS.items():
            if rest.startswith(old):
                ending = rest.removeprefix(old)
                return f"backbone.layer{int(stage) + 1}.{number}.{new}{ending}"
    return name
