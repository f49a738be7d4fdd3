"""Handwritten digits: 1,797 small real images, available without a download."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mmh_core.manifolds.checks import whole
from mmh_core.manifolds.draws import UNKNOWN_LID
from mmh_core.records import ManifoldSamples

DIGIT_COUNT = 1_797
DIGIT_SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class DigitsSplit:
    """Training images and held-out images that share no row."""

    train: ManifoldSamples
    held_out: ManifoldSamples


def digits(count: int = DIGIT_COUNT, *, generator: torch.Generator) -> ManifoldSamples:
    """Return `count` images of scikit-learn's handwritten digits, in random order.

    Points (count, 1, 8, 8) on [-1, 1] (the set's 0 to 16 divided by 8, minus 1); the component is
    the digit. LID is NaN: nobody knows it. The order depends on the generator only, so a smaller
    count gives the first rows of a larger one. Source: the test part of the UCI "Optical
    Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998).
    Errors: ValueError for a count outside 2 to 1,797.
    """
    whole("count", count, least=2, most=DIGIT_COUNT)
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(DIGIT_COUNT, generator=generator, device=generator.device)[:count]
    images = torch.from_numpy(data.images).to(order.device)[order, None]
    component = torch.from_numpy(data.target).to(order.device)[order].long()
    points = (images / 8 - 1).float()
    lid = torch.full((count,), UNKNOWN_LID, device=points.device)
    return ManifoldSamples("digits", points, lid, component, tuple("0123456789"))


def split_digits(train: int, *, generator: torch.Generator) -> DigitsSplit:
    """Split the digits at random: `train` images to train on, all others held out.

    With the same seed, the training half equals `digits(train, ...)`.
    Errors: ValueError for a `train` outside 2 to 1,795; both sides keep at least two images.
    """
    whole("train", train, least=2, most=DIGIT_COUNT - 2)
    everything = digits(generator=generator)
    return DigitsSplit(_rows(everything, slice(train)), _rows(everything, slice(train, None)))


def _rows(samples: ManifoldSamples, rows: slice) -> ManifoldSamples:
    return replace(
        samples,
        points=samples.points[rows],
        lid=samples.lid[rows],
        component=samples.component[rows],
    )
