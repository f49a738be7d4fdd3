"""The stages of the second world's build: their settings, order and budgets."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmh_core.pocket.autoencoder import AutoencoderConfig
from mmh_core.pocket.batches import Precision
from mmh_core.pocket.build import TINY as FIRST_TINY
from mmh_core.pocket.clip import ClipConfig
from mmh_core.pocket.denoiser import DenoiserConfig
from mmh_core.pocket.descriptor import DescriptorConfig
from mmh_core.pocket.fit import Fitting
from mmh_core.pocket.second.doses import Sizes
from mmh_core.pocket.second.tables import SMALL_SETS

#: Denoisers of the whole training set that differ in first weights and order.
NETWORKS = 3
SMALL_STAGES = (*(f"small-{count}" for count in SMALL_SETS), "small-all", "small-duplicates")
DENOISERS = (*(f"denoiser-{number}" for number in range(NETWORKS)), *SMALL_STAGES)
STAGES = ("world", "autoencoder", "clip", "descriptor", "latents", *DENOISERS, "assembly")
#: Stages whose results a stage needs.
NEEDS: dict[str, tuple[str, ...]] = {
    "world": (),
    "autoencoder": ("world",),
    "clip": ("world",),
    "descriptor": ("world",),
    "latents": ("world", "autoencoder", "clip"),
    "assembly": ("autoencoder", "clip", "descriptor", DENOISERS[0]),
} | {name: ("latents",) for name in DENOISERS}
#: Guidance scale of the denoisers and their steps. Among 2, 3, 4 and 6, on captions of the
#: calibration half, 3 is the least at which .95 of the images of captions with 128 copies are
#: copies (2: .90), and images of held-out captions are still clean.
GUIDANCE, STEPS = 3.0, 30
#: Longest stage, and whole build with two stages side by side, in minutes of two idle cores.
STAGE_MINUTES, ALL_MINUTES = 100, 480
#: A stage alone on two cores is this many times as fast as on one, so the whole build is faster
#: with two stages side by side, on a core each.
TWO_CORES = 1.33
#: Images of a training step in a second, measured on one core of an EPYC with bfloat16.
IMAGES_PER_SECOND = {"autoencoder": 82.0, "clip": 190.0, "descriptor": 245.0, "denoiser": 250.0}
#: Images rendered and encoded in a second, and captions whose truth is measured, on one core.
LATENTS_PER_SECOND, CAPTIONS_PER_SECOND = 150.0, 6.0


@dataclass(frozen=True)
class SecondConfig:
    """The settings of all stages.

    `pool` is the number of open images that autoencoder, CLIP and descriptor see; `open` those of
    the denoisers, which come up `open_rows` times in all in one pass through the training set;
    a fresh caption has `refresh` images for each of its rows, at most `most_fresh`. At most
    `measured` captions have their truth measured, and the first `rows` of the training table are
    used: trials of the machinery use fewer than there are.
    """

    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes)
    pool: int = 20_000
    open: int = 120_000
    open_rows: int = 30_000
    refresh: int = 8
    most_fresh: int = 512
    vocabulary: int = 3_000
    autoencoder: AutoencoderConfig = field(
        default_factory=lambda: AutoencoderConfig(Fitting(12_000, 8, 2e-3))
    )
    clip: ClipConfig = field(
        default_factory=lambda: ClipConfig(Fitting(1_500, 128, 1e-3, weight_decay=0.02))
    )
    descriptor: DescriptorConfig = field(
        default_factory=lambda: DescriptorConfig(Fitting(600, 128, 2e-3, weight_decay=1e-4))
    )
    denoiser: DenoiserConfig = field(
        default_factory=lambda: DenoiserConfig(
            Fitting(25_000, 64, 1e-3, warm_up=300), weighting="velocity"
        )
    )
    small: Fitting = field(default_factory=lambda: Fitting(8_000, 64, 1e-3, warm_up=300))
    precision: Precision = "bfloat16"
    measured: int = 1_000_000
    rows: int = 1_000_000


#: Ends in seconds: for tests of the machinery. It learns nothing.
TINY = SecondConfig(
    sizes=Sizes(exact=1, near=1, template=1, unique=6, fresh=6, small=12, held_out=2, other=3),
    pool=24,
    open=24,
    open_rows=24,
    refresh=1,
    most_fresh=1,
    vocabulary=600,
    autoencoder=FIRST_TINY.autoencoder,
    clip=FIRST_TINY.clip,
    descriptor=FIRST_TINY.descriptor,
    denoiser=FIRST_TINY.denoiser,
    small=FIRST_TINY.denoiser.fitting,
    precision="float32",
    measured=16,
    rows=40,
)


def planned_minutes(config: SecondConfig) -> dict[str, float]:
    """Return how long each stage is planned to take, in minutes of one idle core."""
    captions = config.sizes.in_cell + config.sizes.small + config.sizes.held_out
    seconds = {"world": 10 * captions / CAPTIONS_PER_SECOND}
    for name in ("autoencoder", "clip", "descriptor"):
        fitting: Fitting = getattr(config, name).fitting
        drawing = config.pool / LATENTS_PER_SECOND
        seconds[name] = fitting.steps * fitting.batch / IMAGES_PER_SECOND[name] + drawing
    seconds["latents"] = 1.4 * config.open / LATENTS_PER_SECOND
    seconds["assembly"] = 60.0
    for name in DENOISERS:
        fitting = config.denoiser.fitting if name.startswith("denoiser") else config.small
        seconds[name] = fitting.steps * fitting.batch / IMAGES_PER_SECOND["denoiser"]
    return {name: seconds[name] / 60 for name in STAGES}
