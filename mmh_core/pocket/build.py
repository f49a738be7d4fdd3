"""The build of the shipped Stable Diffusion from nothing: all stages in order, each resumable."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmh_core.pocket.autoencoder import AutoencoderConfig, encode, set_scale, train_autoencoder
from mmh_core.pocket.batches import Precision, as_tensor
from mmh_core.pocket.clip import Captioned, ClipConfig, captioned, save_clip, train_clip
from mmh_core.pocket.denoiser import DenoiserConfig, LatentSet, contexts, train_denoiser
from mmh_core.pocket.descriptor import DescriptorConfig, save_descriptor, train_descriptor
from mmh_core.pocket.fit import Fitted, Fitting
from mmh_core.pocket.folder import Place
from mmh_core.pocket.tokenizer import load_tokenizer, token_ids, train_tokenizer
from mmh_core.pocket.world import World, build_world
from mmh_core.records import Progress
from mmh_core.text_to_image.components import write_pipeline


@dataclass(frozen=True)
class BuildConfig:
    """The settings of all stages; equal configs and machines make equal models."""

    seed: int = 0
    share: float = 1.0
    vocabulary: int = 2000
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    descriptor: DescriptorConfig = field(default_factory=DescriptorConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    precision: Precision = "bfloat16"


#: Ends in seconds: for tests of the machinery. It learns nothing.
TINY = BuildConfig(
    share=0.01,
    vocabulary=600,
    autoencoder=AutoencoderConfig(Fitting(3, 4, 1e-3), channels=(8, 8, 8, 8)),
    clip=ClipConfig(
        Fitting(3, 8, 1e-3),
        text_width=16,
        text_layers=1,
        vision_width=16,
        vision_layers=1,
        heads=2,
        width=16,
    ),
    descriptor=DescriptorConfig(Fitting(3, 8, 1e-3), channels=(8, 8, 8), width=16),
    denoiser=DenoiserConfig(Fitting(4, 8, 1e-3), channels=(8, 16), heads=2, groups=8),
    precision="float32",
)

STAGES = ("autoencoder", "clip", "descriptor", "denoiser")
#: Measured on two cores of an EPYC with bfloat16; they only say how long a stage is of the whole.
IMAGES_PER_SECOND = {"autoencoder": 66, "clip": 190, "descriptor": 245, "denoiser": 236}


@dataclass(frozen=True)
class Built:
    """The progress of a build: the stage, the last loss of each, and the folder."""

    stage: str
    losses: dict[str, float]
    out: Path


@dataclass(frozen=True)
class Models:
    """The trained networks of a build."""

    vae: Any
    clip: Any
    descriptor: Any
    unet: Any


def build(
    config: BuildConfig,
    out: Path,
    work: Path,
    *,
    device: torch.device,
    world: World | None = None,
) -> Iterator[Progress[Built]]:
    """Build into the folder `out`, keeping the state of unfinished stages in `work`.

    Started again after an interruption it resumes where it was; a stage whose settings, or whose
    input, have changed starts anew. `world` is drawn from the seed unless given.
    """
    yield Progress(0.0, "Rendering the world", Built("world", {}, out))
    if world is None:
        world = build_world(config.seed, share=config.share)
    run = _Run(config, world, out, work, device)
    yield from run.stages()


class _Run:
    """What the stages of one build share."""

    def __init__(
        self, config: BuildConfig, world: World, out: Path, work: Path, device: torch.device
    ) -> None:
        self.config, self.world, self.out, self.work = config, world, out, work
        self.device = device
        self.images = as_tensor(world.images)
        self.losses: dict[str, float] = {}
        self.stamp = _digest(world.images.tobytes(), world.labels.drop(columns="lid").to_json())

    def stages(self) -> Iterator[Progress[Built]]:
        """Run all stages, then write the folder."""
        labels = self.world.labels
        tokenizer = self.work / "tokenizer"
        words = [text for texts in labels["captions"] for text in texts]
        train_tokenizer(words, tokenizer, vocabulary=self.config.vocabulary)
        texts = captioned(list(labels["captions"]), list(labels["content"]), _encoder(tokenizer))
        vae = yield from self._autoencoder()
        clip = yield from self._clip(texts)
        descriptor = yield from self._descriptor()
        data = self._latent_set(vae, clip, texts, tokenizer)
        unet = yield from self._denoiser(data)
        yield Progress(0.99, "Writing the models", self._built("assembly"))
        models = Models(vae, clip, descriptor, unet)
        assemble(models, tokenizer, self.out, self.work)
        yield Progress(1.0, f"Built into {self.out}", self._built("done"))

    def _autoencoder(self) -> Generator[Progress[Built], None, Any]:
        config = self.config.autoencoder
        place = self._place("autoencoder", config)
        steps = train_autoencoder(self.images, config, place, self.config.precision)
        vae = yield from self._followed("autoencoder", steps)
        set_scale(vae, self.images)
        return vae

    def _clip(self, texts: Captioned) -> Generator[Progress[Built], None, Any]:
        config = self.config.clip
        place = self._place("clip", config, self.config.vocabulary)
        steps = train_clip(self.images, texts, config, place, self.config.precision)
        return (yield from self._followed("clip", steps))

    def _descriptor(self) -> Generator[Progress[Built], None, Any]:
        config = self.config.descriptor
        numbers = {name: i for i, name in enumerate(dict.fromkeys(self.world.labels["subject"]))}
        subjects = torch.tensor([numbers[name] for name in self.world.labels["subject"]])
        place = self._place("descriptor", config)
        steps = train_descriptor(self.images, subjects, config, place, self.config.precision)
        return (yield from self._followed("descriptor", steps))

    def _denoiser(self, data: LatentSet) -> Generator[Progress[Built], None, Any]:
        before = (self.config.vocabulary, self.config.autoencoder, self.config.clip)
        place = self._place("denoiser", self.config.denoiser, *before)
        steps = train_denoiser(data, self.config.denoiser, place, self.config.precision)
        return (yield from self._followed("denoiser", steps))

    def _latent_set(self, vae: Any, clip: Any, texts: Captioned, tokenizer: Path) -> LatentSet:
        copies = torch.tensor(self.world.labels["copies"].to_numpy(copy=True))
        nothing = _encoder(tokenizer)([""])
        return LatentSet(
            encode(vae, self.images),
            copies,
            texts,
            contexts(clip.text_model, texts.ids).half(),
            contexts(clip.text_model, nothing).half(),
        )

    def _place(self, stage: str, *settings: Any) -> Place:
        config = self.config
        parts = [stage, config.seed, config.precision, *(repr(setting) for setting in settings)]
        stamp = _digest(self.stamp.encode(), json.dumps(parts))
        seed = config.seed * len(STAGES) + STAGES.index(stage)
        return Place(self.device, seed, self.work / f"{stage}.pt", stamp)

    def _followed(
        self, stage: str, steps: Iterator[Fitted]
    ) -> Generator[Progress[Built], None, Any]:
        """Yield the progress of a stage, and return its averaged model."""
        before, share = _shares(self.config)[stage]
        batch = fitting_of(self.config, stage).batch
        last = None
        for last in steps:
            self.losses[stage] = last.loss
            fraction = before + share * last.step / last.steps
            yield Progress(fraction, _line(stage, last, batch), self._built(stage))
        if last is None:
            raise ValueError(f"The stage {stage!r} yielded nothing.")
        return last.model

    def _built(self, stage: str) -> Built:
        return Built(stage, dict(self.losses), self.out)


def assemble(models: Models, tokenizer: Path, out: Path, work: Path) -> None:
    """Write the models into `out`: the pipeline's folders, clip/ and descriptor/.

    They are written beside the work first, and moved part by part; the manifest of the build
    before is left in place, so that a folder with parts of two builds is refused at load.
    """
    fresh = work / "assembled"
    shutil.rmtree(fresh, ignore_errors=True)
    text_encoder = models.clip.text_model
    save_descriptor(models.descriptor, fresh / "descriptor")
    save_clip(models.clip, fresh / "clip")
    write_pipeline(
        fresh, unet=models.unet, vae=models.vae, text_encoder=text_encoder, tokenizer=tokenizer
    )
    out.mkdir(parents=True, exist_ok=True)
    for part in sorted(fresh.iterdir()):
        target = out / part.name
        if target.is_dir():
            shutil.rmtree(target)
        shutil.move(part, target)
    fresh.rmdir()


def _encoder(tokenizer: Path) -> Any:
    """Return what maps captions to ids by the tokenizer of a folder."""
    loaded = load_tokenizer(tokenizer)

    def encode_captions(captions: list[str]) -> Tensor:
        ids: Tensor = token_ids(loaded, captions)
        return ids

    return encode_captions


def _digest(*parts: bytes | str) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part if isinstance(part, bytes) else part.encode())
    return hasher.hexdigest()


def _shares(config: BuildConfig) -> dict[str, tuple[float, float]]:
    """Return for each stage where its progress begins and how long it is, of 1."""
    seconds = {stage: _seconds(config, stage) for stage in STAGES}
    total, begin, shares = sum(seconds.values()), 0.0, {}
    for stage, value in seconds.items():
        shares[stage] = (begin / total * 0.98, value / total * 0.98)
        begin += value
    return shares


def fitting_of(config: BuildConfig, stage: str) -> Fitting:
    """Return how long and how fast a stage is fitted."""
    fitting: Fitting = getattr(config, stage).fitting
    return fitting


def _seconds(config: BuildConfig, stage: str) -> float:
    fitting = fitting_of(config, stage)
    return fitting.steps * fitting.batch / IMAGES_PER_SECOND[stage]


def _line(stage: str, last: Fitted, batch: int) -> str:
    """Return a line for a person: the loss, the speed and the time that the stage still needs."""
    if last.taken == 0:
        return f"{stage}: done, loss {last.loss:.4f}"
    pace = last.taken / max(last.seconds, 1e-9)
    left = (last.steps - last.step) / pace / 60
    return (
        f"{stage}: step {last.step} of {last.steps}, loss {last.loss:.4f}, "
        f"{pace * batch:.0f} images/s, {left:.0f} min left"
    )
