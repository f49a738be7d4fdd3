"""What the search calls a copy: equal pixels with any descriptor, in all eight symmetries."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.alignment import SYMMETRIES, symmetries
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.retrieval.embedders import Embedder, PixelEmbedder, embed_all
from mmh_core.retrieval.index import Index, build_index
from mmh_core.retrieval.pixel_match import FLAT, is_flat, pixel_match, structure
from mmh_core.studies.images.verdict import verdict_of
from mmh_core.subject.copy_search import NEIGHBORS, _by_similarity_alone, find_copies
from mmh_core.subject.training_set import TrainingSet
from tests.retrieval.drawings import drawings, labels, training_set_of
from tests.studies.images.test_verdict import reading

NAN = math.nan
COUNT = 24
TRAINED = drawings(COUNT, seed=3)
FRESH = drawings(24, seed=99).float() / 255


@dataclass(frozen=True)
class Named:
    """Wrap the pixel descriptor under another name, at need turned into a useless one."""

    name: str
    useless: bool = False
    dim: int = 768
    digest: str = "0" * 64
    preprocessing: str = "none"

    def __call__(self, images: Tensor) -> Tensor:
        found = PixelEmbedder()(images)
        return torch.full_like(found, NAN) if self.useless else found


def training_set(embedder: Embedder, trained: Tensor = TRAINED) -> TrainingSet:
    index = build_index(embed_all(embedder, trained), labels(len(trained)), embedder)
    return TrainingSet("drawings", index, embedder, lambda row: trained[row])


def shrunk(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def crop(share: float, top: float = 0.5, left: float = 0.5) -> Callable[[Tensor], Tensor]:
    def done(images: Tensor) -> Tensor:
        side = images.shape[-1]
        kept = round(side * (1 - share))
        y, x = (round((side - kept) * place) for place in (top, left))
        return shrunk(images[..., y : y + kept, x : x + kept], side)

    return done


def saved(form: str, **options: int) -> Callable[[Tensor], Tensor]:
    def done(images: Tensor) -> Tensor:
        rows = []
        for image in (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
            file = io.BytesIO()
            Image.fromarray(image).save(file, form, **options)
            rows.append(np.asarray(Image.open(file).convert("RGB")))
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255

    return done


def grained(images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 0.01 * noise).clamp(0, 1)


SAME: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "png": saved("PNG"),
    "jpeg": saved("JPEG", quality=92, subsampling=0),
    "webp": saved("WEBP", lossless=True),
    "grain": grained,
    "one level brighter": lambda x: (x + 1 / 255).clamp(0, 1),
    "enlarged": lambda x: shrunk(x, 128),
    "reduced and enlarged": lambda x: shrunk(shrunk(x, 48), 64),
} | {
    word: (lambda x, number=number: symmetries(x)[number])
    for number, word in enumerate(SYMMETRIES)
    if number
}
PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "cropped by 6 %": crop(0.06),
    "cropped by 10 % at a corner": crop(0.1, 0, 0),
    "cropped by 12 %": crop(0.12),
    "cropped by 15 % below": crop(0.15, 1, 0.5),
    "cropped by 20 %": crop(0.2),
    "mirrored and cropped by 8 %": lambda x: crop(0.08)(x.flip(-1)),
    "upside down and cropped by 8 %": lambda x: crop(0.08)(x.flip(-2)),
    "mirrored jpeg": lambda x: saved("JPEG", quality=75, subsampling=0)(x.flip(-1)),
    "white margins": lambda x: F.pad(shrunk(x, 52), (6, 6, 6, 6), value=1.0),
}
EMBEDDERS: list[Embedder] = [PixelEmbedder(), Named("clip"), Named("dinov2"), Named("sscd")]


@pytest.mark.parametrize(
    ("way", "embedder"),
    [
        *((way, EMBEDDERS[0]) for way in SAME),
        # Without a calibrated threshold pixels alone decide, whatever embedder it is.
        *((way, EMBEDDERS[1 + i % 3]) for i, way in enumerate(SAME)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_equal_pixels_are_a_copy_with_any_embedder(way: str, embedder: Embedder) -> None:
    images = SAME[way](TRAINED[:6].float() / 255)
    for number, (copy, near) in enumerate(find_copies(training_set(embedder), images)):
        assert (copy.kind, copy.nearest) == ("exact", number), copy.reason
        assert number in [one.id for one in near]
        assert verdict_of(copy, reading(9.0, 0.5), guided=True)[0] == "exact copy"


@pytest.mark.parametrize("way", PARTS)
def test_a_part_is_a_copy_or_a_likely_one(way: str) -> None:
    images = PARTS[way](TRAINED[:8].float() / 255)
    for number, (copy, _) in enumerate(find_copies(training_set(PixelEmbedder()), images)):
        assert copy.kind in ("exact", "likely") and copy.nearest == number, copy.reason
        if copy.kind == "likely":
            assert "by eye" in copy.reason and "exact" not in copy.reason
            assert "threshold" in copy.reason


@pytest.mark.parametrize("embedder", EMBEDDERS[:3], ids=lambda e: e.name)
def test_a_fresh_image_cannot_be_judged_without_a_calibrated_threshold(embedder: Embedder) -> None:
    for copy, _ in find_copies(training_set(embedder), FRESH):
        assert copy.kind == "unknown" and math.isnan(copy.threshold)
        assert "no calibrated threshold" in copy.reason
        assert verdict_of(copy, reading(9.0, 0.5), guided=True)[0] == "cannot be judged"


def colored(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([float(red), green, blue])[:, None, None].expand(3, 64, 64).contiguous()


PLAIN = {
    "black": colored(0, 0, 0),
    "white": colored(1, 1, 1),
    "grey": colored(0.5, 0.5, 0.5),
    "red": colored(1, 0, 0),
    "almost black": colored(0.01, 0.0, 0.02),
    "grain on grey": grained(colored(0.5, 0.5, 0.5)[None])[0],
    "one pixel": torch.cat([colored(1, 1, 1)[..., :-1], colored(1, 1, 1)[..., :1] * 0.9], -1),
}


@pytest.mark.parametrize("embedder", EMBEDDERS, ids=lambda e: e.name)
@pytest.mark.parametrize("name", PLAIN)
def test_one_color_has_nothing_to_compare(name: str, embedder: Embedder) -> None:
    trained = torch.cat([torch.full((1, 3, 64, 64), 255, dtype=torch.uint8), TRAINED[:3]])
    [(copy, near)] = find_copies(training_set(embedder, trained), PLAIN[name][None])
    assert (copy.kind, near) == ("flat", ()) and math.isnan(copy.similarity)
    for lid in (reading(0.0, 0.0), reading(9.0, 0.5), None):
        verdict, reason = verdict_of(copy, lid, guided=True)
        assert verdict == "cannot be judged"
        assert "One color: nothing to compare." in reason and "almost the same" not in reason


def test_images_with_structure_are_not_of_one_color() -> None:
    ramp = torch.linspace(0.4, 0.45, 64).expand(3, 64, 64)
    for image in (*TRAINED.float() / 255, *FRESH, ramp):
        assert not bool(is_flat(image[None])[0])
    assert float(structure(ramp[None])[0]) > FLAT


def test_faint_images_are_not_the_same_because_both_are_faint() -> None:
    one, other = (0.5 + 0.04 * (image - image.mean()) for image in FRESH[:2])
    assert pixel_match(one, [[other]] + [[]] * 7) is None


@pytest.mark.parametrize(
    ("similarity", "kind", "verdict"),
    [
        (1.0, "exact", "exact copy"),
        (0.75, "exact", "exact copy"),
        (0.7499, "likely", "likely copy, compare by eye"),
        (0.7, "likely", "likely copy, compare by eye"),
        (0.55, "likely", "likely copy, compare by eye"),
        (0.5, "likely", "likely copy, compare by eye"),
        (0.4999, "none", "not memorized"),
        (0.0, "none", "not memorized"),
        (-0.3, "none", "not memorized"),
        (NAN, "unknown", "cannot be judged"),
    ],
)
def test_sscds_thresholds_are_those_of_its_paper(
    similarity: float, kind: CopyKind, verdict: str
) -> None:
    stand_in = TrainingSet("x", cast(Index, None), Named("sscd"), lambda row: TRAINED[row])
    copy = _by_similarity_alone(stand_in, similarity, 3, 1)
    assert copy.kind == kind
    if kind != "unknown":
        assert "0.75" in copy.reason and "0.5" in copy.reason and copy.threshold == 0.5
    assert verdict_of(copy, reading(9.0, 0.5), guided=True)[0] == verdict
    for name in ("pixels", "clip", "dinov2", "pocket"):
        other = _by_similarity_alone(replace(stand_in, embedder=Named(name)), similarity, 3, 1)
        assert other.kind == "unknown"
        assert verdict_of(other, reading(9.0, 0.5), guided=True)[0] == "cannot be judged"


def test_an_embedder_without_numbers_is_named() -> None:
    good = training_set(Named("clip"))
    with pytest.raises(MMHError, match="The embedder clip gave a descriptor"):
        find_copies(replace(good, embedder=Named("clip", useless=True)), FRESH[:1])


@dataclass(frozen=True)
class Corner:
    """Describe an image by how bright its first pixel is, and by nothing else."""

    name: str = "corner"
    dim: int = 2
    digest: str = "0" * 64
    preprocessing: str = "none"

    def __call__(self, images: Tensor) -> Tensor:
        angle = images.float()[:, 0, 0, 0] / (255 if images.dtype == torch.uint8 else 1)
        return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_image_that_a_copy_is_named_after_stands_among_its_neighbors() -> None:
    """Of an image with many versions a dozen may be nearer by descriptor than the one copied."""
    copied, others = drawings(1, seed=5), drawings(30, seed=6)
    versions = copied.repeat(20, 1, 1, 1)
    noise = torch.randn(versions.shape, generator=torch.Generator().manual_seed(0))
    versions = (versions + 6 * noise).clamp(0, 255).to(torch.uint8)
    versions[:, :, 0, 0] = (60 + torch.arange(20, dtype=torch.uint8))[:, None]
    copied[:, :, 0, 0] = 0
    trained = torch.cat([copied, versions, others])
    query = copied.float()
    query[:, :, 0, 0] = 70
    searched = training_set_of(trained, cast(Embedder, Corner()))
    [(copy, near)] = find_copies(searched, query / 255)
    assert (copy.kind, copy.nearest) == ("exact", 0)
    assert 0 not in [one.id for one in near[:-1]] and len(near) == NEIGHBORS + 1
    assert (near[-1].id, near[-1].caption) == (0, "c0")
    assert torch.equal(near[-1].image, trained[0])
    similar = [one.similarity for one in near]
    assert similar == sorted(similar, reverse=True)
