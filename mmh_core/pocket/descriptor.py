"""Training of the copy descriptor: equal for augmented copies of an image, else different."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmh_core.files import replacing, write_text
from mmh_core.formats.untrusted import parse_json
from mmh_core.pocket.augmentations import view
from mmh_core.pocket.batches import Precision, as_unit, computing
from mmh_core.pocket.fit import Fitted, Fitting, Loss, fit
from mmh_core.pocket.folder import Place
from mmh_core.records import MMHError
from mmh_core.statistics.areas import area_under_curve


@dataclass(frozen=True)
class DescriptorConfig:
    """Shape of the network, weights of the loss, and length of training.

    Half of a batch comes in groups of `group` images of one subject, which are hard to tell
    apart.
    """

    fitting: Fitting = field(
        default_factory=lambda: Fitting(steps=200, batch=128, rate=2e-3, weight_decay=1e-4)
    )
    channels: tuple[int, ...] = (32, 64, 128, 192)
    width: int = 128
    temperature: float = 0.07
    spreading: float = 0.3
    group: int = 4


class _Block(nn.Module):
    """A residual block that halves the side first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(8, outputs)
        self.correct = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.last = nn.GroupNorm(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H / 2, W / 2)."""
        x = F.silu(self.norm(self.reduce(x)))
        return F.silu(x + self.last(self.correct(x)))


class Descriptor(nn.Module):
    """The descriptor network: images (B, 3, H, W) in [0, 1] to unit vectors (B, width).

    The output of the last block is summed with its own mirror image, which makes the layout
    symmetric; the filters still respond differently to a mirrored image, and only training, which
    has mirrored copies as positives, makes the two vectors equal.
    """

    def __init__(self, channels: tuple[int, ...], width: int, size: int) -> None:
        """Build for square images of this side."""
        super().__init__()
        self.shape = {"channels": list(channels), "width": width, "size": size}
        steps = zip((3, *channels), channels, strict=False)
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in steps))
        side = size // 2 ** len(channels)
        if side < 1:
            raise ValueError(f"A side of {size} cannot be halved {len(channels)} times.")
        self.outlet = nn.Linear(channels[-1] * side * side, width)

    def forward(self, images: Tensor) -> Tensor:
        """Return unit vectors (B, width)."""
        features = self.blocks(images * 4 - 2)
        both = self.outlet(features.flatten(1)) + self.outlet(features.flip(3).flatten(1))
        return F.normalize(both.float(), dim=1)


def train_descriptor(
    images: Tensor,
    subjects: Tensor,
    config: DescriptorConfig,
    place: Place,
    precision: Precision,
) -> Iterator[Fitted]:
    """Train on uint8 images (N, 3, H, W); `subjects` (N,) is equal for those hard to tell."""
    generator = torch.Generator().manual_seed(place.seed)
    with place.seeded():
        net = Descriptor(config.channels, config.width, images.shape[-1]).to(place.device)
    yield from fit(
        net,
        _loss(net, images, subjects, config, precision),
        config.fitting,
        generator=generator,
        checkpoint=place.checkpoint,
        stamp=place.stamp,
    )


def info_nce(views: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss of B pairs of views against all 2 B - 2 others.

    `-mean log exp(s_ip / T) / sum_{j != i} exp(s_ij / T)` with cosines s (Chen et al. 2020).
    """
    both = torch.cat([views, others])
    logits = both @ both.T / temperature
    logits.fill_diagonal_(-math.inf)
    partner = torch.arange(len(both), device=both.device).roll(len(views))
    return F.cross_entropy(logits, partner)


def koleo(vectors: Tensor) -> Tensor:
    """Return `-mean log min_{j != i} |v_i - v_j|`: low when no two vectors are close.

    The differential entropy regularizer that SSCD uses (Sablayrolles et al. 2019, Eq. 3); here as
    in SSCD between different images only, so it is given one view of each.
    """
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    nearest = distances.masked_fill(itself, math.inf).min(1).values
    return -nearest.clamp(min=1e-6).log().mean()


def hard_batch(subjects: Tensor, batch: int, group: int, generator: torch.Generator) -> Tensor:
    """Return distinct random image numbers, at most `batch`: half in groups of one subject."""
    count = len(subjects)
    order = torch.randperm(count, generator=generator)
    seeds = order[: max(1, batch // (2 * group))]
    grouped = [order[subjects[order] == subjects[seed]][:group] for seed in seeds]
    chosen = torch.cat([*grouped, order[len(seeds) :]])
    _, first = _first_of_each(chosen)
    return chosen[first][:batch]


def _first_of_each(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct numbers and the places of their first occurrences, in order."""
    values, inverse = torch.unique(numbers, return_inverse=True)
    places = torch.arange(len(numbers))
    first = torch.full((len(values),), len(numbers)).scatter_reduce(0, inverse, places, "amin")
    return values, first.sort().values


def _loss(
    net: nn.Module,
    images: Tensor,
    subjects: Tensor,
    config: DescriptorConfig,
    precision: Precision,
) -> Loss:
    device = next(net.parameters()).device

    def loss(generator: torch.Generator) -> Tensor:
        chosen = hard_batch(subjects, config.fitting.batch, config.group, generator)
        x = as_unit(images[chosen], device)
        with computing(device, precision):
            vectors = net(torch.cat([view(x, generator), view(x, generator)]))
        first, two = vectors.float().chunk(2)
        return info_nce(first, two, config.temperature) + config.spreading * koleo(first)

    return loss


@torch.no_grad()
def describe(net: nn.Module, images: Tensor, batch: int = 256) -> Tensor:
    """Return unit vectors (N, width) of images (N, 3, H, W), uint8 or in [0, 1], on the CPU."""
    device = next(net.parameters()).device
    unit = [
        as_unit(part, device) if part.dtype == torch.uint8 else part.to(device)
        for part in torch.split(images, batch)
    ]
    return torch.cat([net(part).cpu() for part in unit])


def copy_auc(copies: Tensor, originals: Tensor) -> float:
    """Return how often a changed copy is more similar to its original than to another image.

    Rows of both (N, width) belong together; the similarities of the N pairs are compared with all
    N (N - 1) others, ties counting one half: the area under the ROC curve of "is a copy".
    """
    similarity = copies @ originals.T
    positive = similarity.diagonal()
    negative = similarity[~torch.eye(len(copies), dtype=torch.bool)]
    return float(area_under_curve(positive, negative))


def save_descriptor(net: Descriptor, folder: Path) -> None:
    """Write the weights as float16 safetensors, and the shape as JSON."""
    from safetensors.torch import save_file

    weights = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    with replacing(folder / "model.safetensors") as temporary:
        save_file(weights, temporary)
    write_text(folder / "config.json", json.dumps(net.shape, indent=2, sort_keys=True) + "\n")


def load_descriptor(folder: Path) -> Descriptor:
    """Return the descriptor of a folder, in float32 and frozen."""
    from safetensors.torch import load_file

    try:
        shape = parse_json((folder / "config.json").read_bytes())
        net = Descriptor(tuple(shape["channels"]), shape["width"], shape["size"])
        weights = load_file(folder / "model.safetensors")
        net.load_state_dict({name: value.float() for name, value in weights.items()})
    except Exception as error:
        raise MMHError(
            f"The copy descriptor in {folder} cannot be read: build or download it again."
        ) from error
    return net.requires_grad_(False).eval()
