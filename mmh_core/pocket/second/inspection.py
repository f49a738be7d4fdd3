"""The measurements of the second world's networks, kept beside the build and resumed."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

import pandas as pd

from mmh_core.pocket.calibration import LidNoiseScale
from mmh_core.pocket.figures import Row
from mmh_core.pocket.second.dimensions import (
    caption_lids,
    lid_captions,
    open_lids,
)
from mmh_core.pocket.second.generated import (
    ImageCounts,
    generated_records,
    others_to_generate,
    trained_to_generate,
)
from mmh_core.pocket.second.kept import KeptMeasurement, Record, pack, unpack
from mmh_core.pocket.second.networks import open_network
from mmh_core.pocket.second.perfect import bayes_records, denoising_records, items
from mmh_core.pocket.second.plan import GUIDANCE, NETWORKS
from mmh_core.pocket.second.scale import (
    PROBES,
    ScaleCaptions,
    image_records,
    lid_records,
    scale_captions,
    scale_of,
)
from mmh_core.pocket.second.searched import (
    CHANGES,
    MERGING,
    SearchedRows,
    negative_items,
    negative_records,
    recognized_record,
    searched_rows,
    thresholds_from,
)
from mmh_core.pocket.second.training import Workshop
from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.text_to_image.model import TextToImage

#: The file of what is measured, among shipped networks.
PACKED = "check.zip"


class FurtherFigures(Protocol):
    """A demand whose measurement needs more than a pocket has, such as the rule of the cause."""

    def measurements(self) -> Iterator[KeptMeasurement]:
        """Yield what is measured for it and can be measured by now."""

    def rows(self) -> list[Row]:
        """Return its rows, without a value where not all is measured."""


class Inspection:
    """What a check measures of one build: which items, and what they use.

    Networks, thresholds and the training set are opened when a measurement first needs them.
    """

    def __init__(self, shop: Workshop, counts: ImageCounts | None = None) -> None:
        """Take the build, and how many images are measured."""
        self.shop = shop
        self.counts = ImageCounts() if counts is None else counts
        self.networks = [n for n in range(NETWORKS) if shop.finished(f"denoiser-{n}")]
        self._opened: dict[int, TextToImage] = {}
        self._unpacked: set[str] = set()

    def run(
        self, minutes: float | None = None, further: FurtherFigures | None = None
    ) -> Iterator[tuple[str, int, int]]:
        """Measure what is left; yield the label of a measurement, items done, of how many.

        Ends after `minutes`; what is measured is kept, and the next run goes on behind it. The
        measurements of `further` come last.
        """
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        last = iter(()) if further is None else further.measurements()
        for measurement in chain(self.measurements(), last):
            for done, of in measurement.run(deadline):
                yield measurement.label, done, of

    def measurements(self) -> Iterator[KeptMeasurement]:
        """Yield the measurements that can be made of what is built, in order.

        Some need results of those before them, and come only when these are complete.
        """
        shop = self.shop
        if not all(shop.finished(name) for name in ("world", "autoencoder", "descriptor")):
            return
        yield self.negatives
        if self.negatives.complete:
            yield self.recognized
            for number in self.networks:
                yield self.generated(number)
        yield from self.scale_measurements()
        if self.networks and self.scale_lids.complete:
            for number in self.networks:
                yield self.held_out(number)
                yield self.opened(number)
        yield self.bayes
        for number in self.networks:
            yield self.denoising(number)

    def packed(self, path: Path, further: FurtherFigures | None = None) -> int:
        """Write what is measured into one file; return how many items.

        Images are left out: they can be generated again. The pairs and the answers to them are
        among what is packed.
        """
        last = iter(()) if further is None else further.measurements()
        folders = [measurement.folder for measurement in chain(self.measurements(), last)]
        check = self.shop.work / "check"
        files = [file for folder in folders for file in folder.glob("*.json")]
        return pack([*files, *check.glob("*.json")], check, path)

    # --- measurements -------------------------------------------------------------------------

    def calibrations(self) -> Iterator[KeptMeasurement]:
        """Yield what calibrates a model: copy thresholds, then the noise scale of LID."""
        yield self.negatives
        yield from self.scale_measurements()

    def scale_measurements(self) -> Iterator[KeptMeasurement]:
        """Yield what the noise scale is chosen by, each once what it needs is complete."""
        if self.networks and self.negatives.complete:
            yield self.scale_images
            if self.scale_images.complete:
                yield self.scale_lids

    @cached_property
    def negatives(self) -> KeptMeasurement:
        """Return the evidence of images that are no copies, which sets the copy thresholds."""
        images = self.counts.negatives

        def measure(item: str) -> list[Record]:
            return negative_records(self.shop, self.autoencoder, self.rows, item, images)

        folder = self.folder("negatives", ("autoencoder", "descriptor"), (images, MERGING))
        label = "Calibrating copy thresholds"
        return KeptMeasurement(label, folder, negative_items(self.shop), measure)

    @cached_property
    def recognized(self) -> KeptMeasurement:
        """Return how many training images the calibrated search recognizes, by change."""
        counts = self.counts.negatives, self.counts.recognized

        def measure(change: str) -> list[Record]:
            search = self.rows, self.thresholds
            return [recognized_record(self.autoencoder, *search, change, counts[1])]

        stages = ("autoencoder", "descriptor")
        folder = self.folder("recognized", stages, (counts, MERGING))
        return KeptMeasurement("Searching changed training images", folder, CHANGES, measure)

    @cached_property
    def scale_captions(self) -> ScaleCaptions:
        """Return the captions by which the noise scale is chosen."""
        return scale_captions(self.shop, self.counts.scale_captions)

    @cached_property
    def scale_images(self) -> KeptMeasurement:
        """Return the images by which the noise scale is chosen, of the first network."""
        chosen, tables = self.scale_captions, self.shop.tables

        def measure(item: str) -> list[Record]:
            model = self.network(self.networks[0])
            return image_records(model, tables, chosen.part(item), self.rows, self.thresholds)

        label = "Generating images to choose the scale of LID by"
        return KeptMeasurement(
            label, self._scale_folder("scale-images"), chosen.image_items, measure
        )

    @cached_property
    def scale_lids(self) -> KeptMeasurement:
        """Return the LID of these images at each scale."""
        chosen, tables = self.scale_captions, self.shop.tables

        def measure(item: str) -> list[Record]:
            delta, _, part = item.partition("-")
            model, images = self.network(self.networks[0]), self.scale_images.of(part)
            return lid_records(model, tables, chosen.part(part).side, images, float(delta))

        label = "Choosing the scale of LID"
        return KeptMeasurement(label, self._scale_folder("scale-lid"), chosen.lid_items, measure)

    def _scale_folder(self, name: str) -> Path:
        stages = ("descriptor", f"denoiser-{self.networks[0]}")
        return self.folder(name, stages, self.scale_settings)

    def generated(self, number: int) -> KeptMeasurement:
        """Return the images of one network, with the copy evidence of each."""
        stage = f"denoiser-{number}"
        seeds = self.counts.seeds, self.counts.other_seeds
        folder = self.folder(
            "images", (stage, "descriptor"), (seeds, self.counts.negatives, GUIDANCE, MERGING)
        )
        captions = trained_to_generate(self.shop.tables, self.shop.truth())
        captions = captions[: self.counts.captions]
        trained = frozenset(captions)
        if number == 0:
            captions += others_to_generate(self.shop.tables, self.counts.other_captions)

        def measure(item: str) -> list[Record]:
            caption = int(item)
            count = seeds[0] if caption in trained else seeds[1]
            text = str(self.shop.tables.captions.text[caption])
            model, sheet = self.network(number), folder / f"{item}.webp"
            return generated_records(
                model, text, caption, count, self.rows, self.thresholds, sheet
            )

        label = f"Generating images of captions, network {number}"
        return KeptMeasurement(label, folder, tuple(map(str, captions)), measure)

    def held_out(self, number: int) -> KeptMeasurement:
        """Return LID and LID* of held-out images of captions."""
        count = self.counts.held_out
        stages = (f"denoiser-{number}", "descriptor")
        folder = self.folder("held-out", stages, (count, self.scale_settings))
        numbers = lid_captions(self.shop.tables, "test")[: self.counts.captions]
        captions = tuple(map(str, numbers))

        def measure(item: str) -> list[Record]:
            tables, log_delta = self.shop.tables, self.scale.log_delta
            return caption_lids(self.network(number), tables, int(item), count, log_delta)

        label = f"Estimating LID of held-out images, network {number}"
        return KeptMeasurement(label, folder, captions, measure)

    def opened(self, number: int) -> KeptMeasurement:
        """Return LID and LID* of open images."""
        stages = (f"denoiser-{number}", "descriptor")
        folder = self.folder("open", stages, self.scale_settings)

        def measure(item: str) -> list[Record]:
            tables, log_delta = self.shop.tables, self.scale.log_delta
            return open_lids(self.network(number), tables, int(item), log_delta)

        label = f"Estimating LID of open images, network {number}"
        return KeptMeasurement(label, folder, _numbers(self.counts.open_images), measure)

    @cached_property
    def bayes(self) -> KeptMeasurement:
        """Return the Bayes errors of open images over noise scales."""

        def measure(item: str) -> list[Record]:
            return bayes_records(self.shop.tables, self.autoencoder, item)

        folder = self.folder("bayes", ("autoencoder",), None)
        label = "Sampling Bayes-optimal denoisers"
        return KeptMeasurement(label, folder, items(self.counts.bayes_images), measure)

    def denoising(self, number: int) -> KeptMeasurement:
        """Return the denoising errors of one network on the images of `bayes`."""

        def measure(item: str) -> list[Record]:
            model = self.network(number)
            return denoising_records(model, self.shop.tables, self.autoencoder, item)

        folder = self.folder("denoising", (f"denoiser-{number}",), None)
        label = f"Denoising open images, network {number}"
        return KeptMeasurement(label, folder, items(self.counts.bayes_images), measure)

    def over_networks(self, measure: str) -> tuple[pd.DataFrame, bool]:
        """Return the records of all networks, and whether these are complete.

        `measure` is the name of one of the methods `generated`, `held_out`, `opened` and
        `denoising`.
        """
        methods = {
            "generated": self.generated,
            "held_out": self.held_out,
            "opened": self.opened,
            "denoising": self.denoising,
        }
        parts = [(number, methods[measure](number)) for number in self.networks]
        tables = [part.table().assign(network=number) for number, part in parts]
        complete = bool(parts) and all(part.complete for _, part in parts)
        return (pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()), complete

    # --- what measurements use ----------------------------------------------------------------

    def network(self, number: int) -> TextToImage:
        """Return one of the denoisers as a model."""
        if number not in self._opened:
            self._opened[number] = open_network(self.shop, f"denoiser-{number}")
        return self._opened[number]

    @cached_property
    def autoencoder(self) -> object:
        """Return the autoencoder with its scale."""
        return self.shop.scaled_autoencoder()

    @cached_property
    def rows(self) -> SearchedRows:
        """Return the training set as it is searched."""
        return searched_rows(self.shop)

    @cached_property
    def thresholds(self) -> CopyThresholds:
        """Return the calibrated copy thresholds, once `negatives` is complete."""
        return thresholds_from(self.negatives.table())

    @cached_property
    def scale(self) -> LidNoiseScale:
        """Return the chosen scale of LID, once `scale_lids` is complete."""
        return scale_of(self.shop.tables, self.scale_images.table(), self.scale_lids.table())

    @property
    def log_delta(self) -> float:
        """Return the calibrated noise scale, NaN before there is one."""
        chosen = bool(self.networks) and self.scale_lids.complete
        return self.scale.log_delta if chosen else math.nan

    @property
    def scale_settings(self) -> object:
        """Return the settings that the chosen scale, and all that is read at it, depend on."""
        counts = self.counts
        chosen_by = counts.negatives, counts.scale_captions, self.networks[:1], GUIDANCE
        return PROBES, *chosen_by, MERGING

    def folder(self, name: str, stages: Sequence[str], settings: object) -> Path:
        """Return the folder of a measurement: another one for other stages or settings.

        What of it was measured on another machine, and is shipped, is put there.
        """
        stamps = [self.shop.stamp(stage) for stage in ("world", *stages)]
        digest = hashlib.sha256(repr((stamps, settings)).encode()).hexdigest()[:12]
        return self.shipped(f"{name}-{digest}")

    def shipped(self, name: str) -> Path:
        """Return the path of a file or folder of the check, with what of it is shipped."""
        check = self.shop.work / "check"
        if name not in self._unpacked:
            unpack(self.shop.shipped / PACKED, check, name)
            self._unpacked.add(name)
        return check / name


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))
