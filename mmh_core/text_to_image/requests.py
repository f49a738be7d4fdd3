"""What to generate: a request, checked when it is made, and what may steer it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from mmh_core.formats.texts import check_text, is_blank
from mmh_core.records import MMHError
from mmh_core.text_to_image.prompt_text import MOST_WINDOWS

SchedulerName = Literal["ddim", "euler", "dpm++ 2m", "pndm"]

MOST_STEPS = 1000
#: Far beyond any in use. Numbers without bound overflow, as those of broken weights do.
MOST_GUIDANCE = 1000
#: Longest side of an image in pixels: no model of today is trained on longer ones.
LONGEST_SIDE = 2048
# Images are computed side by side: this many pixels are 32 images of 512 x 512.
MOST_PIXELS = 2**23
# 50 steps of 80 images of 512 x 512, hours on a CPU.
MOST_WORK = 2**30
LONGEST_TEXT = 10_000


@dataclass(frozen=True, eq=False)
class Branches:
    """The network's outputs for `x_t` at time `t` with and without the prompt, to be mixed.

    `without` and `with_prompt` (B, C, h, w) are its raw outputs, in the type of its weights and in
    whatever it predicts; every prediction is affine in them with the same coefficients, so a
    mixture of outputs with weights of sum 1 is that mixture of predictions. `guidance_norm` (B,)
    is `|eps_c - eps_u|_2`, `scale` the guidance scale at this time, and `predict(embedding)` the
    network's output for the same `x_t` with another embedding (1 or B, tokens, width).
    """

    t: float
    x_t: Tensor
    without: Tensor
    with_prompt: Tensor
    guidance_norm: Tensor
    scale: float
    predict: Callable[[Tensor], Tensor]

    def guided(self, scale: float | Tensor) -> Tensor:
        """Return `without + scale (with_prompt - without)`; `scale` a number or (B,)."""
        if isinstance(scale, Tensor):
            scale = scale.to(self.without).reshape(-1, 1, 1, 1)
        return self.without + scale * (self.with_prompt - self.without)


Mixing = Callable[[Branches], Tensor]


@dataclass(frozen=True, eq=False)
class Steering:
    """Replacements in a generation; a field that is None leaves what the request says.

    `embedding` and `negative_embedding` are (1 or B, tokens, width), in place of the encoded
    texts. `noise` (B, *latent shape), in units of a standard normal, is the start in place of the
    seeds'. `guidance_at(t)` gives the guidance scale at time t in place of a constant one.
    `mixing()` is called once a generation and gives the function that mixes the branches of each
    step, in place of the guidance formula; what it remembers between steps is that generation's
    own. With either, both branches are computed at every step. `attention(leading)` gives a
    context that is entered around each call of the network that sees the prompt, and left again
    before the step is reported; the first `leading` rows of the batch are those without it.
    """

    embedding: Tensor | None = None
    negative_embedding: Tensor | None = None
    noise: Tensor | None = None
    guidance_at: Callable[[float], float] | None = None
    mixing: Callable[[], Mixing] | None = None
    attention: Callable[[int], AbstractContextManager[object]] | None = None


@dataclass(frozen=True)
class Sampling:
    """The sampling of images: figures compare if and only if sampling and model are equal.

    `guidance` is diffusers' scale, `eps_u + guidance (eps_c - eps_u)`: 1 and all below, 0 and
    negative numbers too, are no guidance, which generates with the prompt alone, as in diffusers.
    `windows` is in how many windows of the text encoder the prompts are read (`prompt_text`).
    Raises MMHError for what a person can mistype, ValueError for an unknown scheduler.
    """

    steps: int
    guidance: float
    height: int
    width: int
    scheduler: SchedulerName = "ddim"
    negative: str = ""
    windows: int = 1

    def __post_init__(self) -> None:
        """Check every field."""
        if self.scheduler not in get_args(SchedulerName):
            raise ValueError(
                f"Unknown scheduler {self.scheduler!r}: choose from "
                f"{', '.join(get_args(SchedulerName))}."
            )
        _check_length("negative prompt", self.negative)
        if not 1 <= self.steps <= MOST_STEPS:
            raise MMHError(f"{self.steps} steps: choose from 1 to {MOST_STEPS:,}.")
        if not -MOST_GUIDANCE <= self.guidance <= MOST_GUIDANCE:
            raise MMHError(
                f"The guidance scale is {self.guidance:g}: choose one up to {MOST_GUIDANCE:,}."
            )
        if not 1 <= self.windows <= MOST_WINDOWS:
            raise MMHError(f"{self.windows} context windows: choose from 1 to {MOST_WINDOWS}.")
        for name, side in (("height", self.height), ("width", self.width)):
            if not 8 <= side <= LONGEST_SIDE or side % 8:
                # The other side may be one that nobody chose.
                raise MMHError(
                    f"The {name} is {side:,} pixels: choose multiples of 8 up to {LONGEST_SIDE:,} "
                    "for height and width."
                )

    @property
    def scale(self) -> float:
        """Return the guidance scale as diffusers takes it: 1, none, for all below."""
        return max(1.0, self.guidance)

    @property
    def words(self) -> str:
        """Return the sampling as a phrase: "30 steps, guidance 7.5, ddim, 512 x 512"."""
        parts = [f"{self.steps} steps", f"guidance {self.guidance:g}", self.scheduler]
        parts.append(f"{self.height} x {self.width}")
        if self.negative:
            parts.append("a negative prompt")
        if self.windows > 1:
            parts.append(f"{self.windows} context windows")
        return ", ".join(parts)

    @property
    def pixels(self) -> int:
        """Return the number of pixels of one image."""
        return self.height * self.width


@dataclass(frozen=True)
class Request:
    """One image per seed of a prompt.

    The same seed starts from the same noise whatever the device and the other seeds are. Two
    requests with steering are equal only when it is the same object. Raises MMHError for what a
    person can mistype.
    """

    prompt: str
    seeds: tuple[int, ...]
    sampling: Sampling
    steering: Steering | None = None

    def __post_init__(self) -> None:
        """Check prompt and seeds, and the work that they ask for against the limits."""
        _check_length("prompt", self.prompt)
        if not self.seeds or not all(_is_seed(seed) for seed in self.seeds):
            raise MMHError(
                f"The seeds are {', '.join(map(str, self.seeds)) or 'none'}: give at least one, "
                "each a whole number from 0 to 2^63 - 1."
            )
        sampling = self.sampling
        pixels = sampling.pixels * len(self.seeds)
        images = f"{len(self.seeds)} images of {sampling.height} x {sampling.width}"
        if pixels > MOST_PIXELS:
            raise MMHError(
                f"{images} are more than one request may ask for ({MOST_PIXELS:,} pixels): choose "
                "fewer or smaller images."
            )
        if pixels * sampling.steps > MOST_WORK:
            raise MMHError(
                f"{images} in {sampling.steps} steps are more than one request may ask for: "
                "choose fewer or smaller images, or fewer steps."
            )


def check_prompt(prompt: str) -> None:
    """Raise MMHError for a prompt that is empty, far too long or no text."""
    check_text(prompt, "prompt")
    if is_blank(prompt):
        raise MMHError("The prompt is empty: write what the image should show.")
    _check_length("prompt", prompt)


def _check_length(name: str, text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise MMHError(
            f"The {name} is too long ({len(text):,} characters): shorten it to {LONGEST_TEXT:,}."
        )


def _is_seed(seed: object) -> bool:
    return isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63
