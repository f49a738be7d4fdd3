"""The inputs of detectors: prompts, starting noise, and the trace of a generation.

A row is one image: a prompt and the noise it starts from. Labels are no inputs, so no detector can
use them. All tensors are on the CPU in float32; estimates move what they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.text_to_image.model import TextToImage

# At most so many latent values, and so many rows, in one pass: 24 images of the shipped model, 8
# of 512 x 512.
_NUMBERS, _ROWS = 2**17, 24


@dataclass(frozen=True, eq=False)
class Trace:
    """The trace of a generation of B images in T steps.

    `times` (T,); `guidance_norm` (B, T), `|eps_c - eps_u|_2` at each step; `movement` (B, T), how
    far each step moved, `|x_t - x_(t+1)|_2`, the last one to the final latents; `region`
    (B, h, w), the squared guidance vector over `sigma^2`, summed over channels, at the last step;
    `latents` (B, *shape), the final ones; `images` (B, 3, H, W) in [0, 1]. `guidance` is its
    scale, `nfe` the NFE per image.
    """

    times: Tensor
    guidance_norm: Tensor
    movement: Tensor
    region: Tensor
    latents: Tensor
    images: Tensor
    guidance: float
    nfe: float

    def rows(self, index: Tensor) -> Trace:
        """Return some of the images, by their row numbers."""
        return replace(
            self,
            guidance_norm=self.guidance_norm[index],
            movement=self.movement[index],
            region=self.region[index],
            latents=self.latents[index],
            images=self.images[index],
        )


@dataclass(frozen=True, eq=False)
class DetectorInputs:
    """Prompts and starting noises of B rows, one row an image.

    Row i has `embeddings[prompt_index[i]]` and `noise[noise_index[i]]`, of `embeddings`
    (P, tokens, width) and `noise` (S, *shape), standard normal; both indices are (B,) int64. Rows
    that share a noise share the unconditional branch. `trace` is None until
    images have been generated. `prompts` are the P texts, empty where they are unknown. Raises
    ValueError where the parts do not fit together.
    """

    embeddings: Tensor
    noise: Tensor
    prompt_index: Tensor
    noise_index: Tensor
    trace: Trace | None = None
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for no rows, rows of unequal number, and indices out of range."""
        count = len(self.prompt_index)
        if not count or self.noise_index.shape != self.prompt_index.shape:
            raise ValueError(
                f"A detector needs rows: got {count} prompts and {len(self.noise_index)} noises."
            )
        for name, index, tensor in (
            ("prompt_index", self.prompt_index, self.embeddings),
            ("noise_index", self.noise_index, self.noise),
        ):
            if int(index.min()) < 0 or int(index.max()) >= len(tensor):
                raise ValueError(f"{name} must lie below {len(tensor)}, got {index.tolist()!r}.")
        if self.trace is not None and len(self.trace.latents) != count:
            raise ValueError(f"The trace holds {len(self.trace.latents)} images for {count} rows.")
        if self.prompts and len(self.prompts) != len(self.embeddings):
            raise ValueError(
                f"There are {len(self.prompts)} prompts for {len(self.embeddings)} embeddings."
            )

    def __len__(self) -> int:
        """Return B."""
        return len(self.prompt_index)

    def text(self, row: int) -> str:
        """Return the prompt of a row, "" where it is unknown."""
        return self.prompts[int(self.prompt_index[row])] if self.prompts else ""

    def rows(self, index: Tensor) -> DetectorInputs:
        """Return some of the rows, by their numbers; embeddings and noise are kept whole."""
        trace = None if self.trace is None else self.trace.rows(index)
        prompts, noises = self.prompt_index[index], self.noise_index[index]
        return replace(self, prompt_index=prompts, noise_index=noises, trace=trace)

    def groups(self) -> Iterator[Tensor]:
        """Yield the row numbers of each prompt that has any, in the order of the prompts."""
        for number in sorted(set(self.prompt_index.tolist())):
            yield (self.prompt_index == number).nonzero()[:, 0]

    def generated(self) -> Trace:
        """Return the trace. Raises ValueError where nothing was generated."""
        if self.trace is None:
            raise ValueError(
                "This detector needs a generation: make the inputs with generated_inputs."
            )
        return self.trace


def rows_at_once(model: TextToImage) -> int:
    """Return how many rows one pass of the network takes: memory stays bounded."""
    return max(1, min(_ROWS, _NUMBERS // model.score_model.ambient_dim))


def encode(model: TextToImage, prompts: Sequence[str]) -> Tensor:
    """Return the embeddings (P, tokens, width) of prompts, one at a time.

    A batch of another size rounds differently, and a prompt must score the same in every table.
    """
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"prompts must be a list of at least one text, got {prompts!r}.")
    with torch.no_grad():
        return torch.cat([model.encode_text([text]).float().cpu() for text in prompts])


def row_parts(
    model: TextToImage, inputs: DetectorInputs, size: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield starting noise and embedding (b, ...) of all rows on the device, a part at a time.

    A part has `size` rows, `rows_at_once` of the model unless given.
    """
    for part in torch.split(torch.arange(len(inputs)), size or rows_at_once(model)):
        noise = inputs.noise[inputs.noise_index[part]].to(model.device)
        yield noise, inputs.embeddings[inputs.prompt_index[part]].to(model.device)


def is_empty_prompt(model: TextToImage, embeddings: Tensor) -> Tensor:
    """Return which of the embeddings (P, tokens, width) are that of the empty prompt, (P,) bool.

    Their guidance vector is 0 but for rounding.
    """
    empty = model.unconditional.float().cpu()
    if embeddings.shape[1:] != empty.shape[1:]:
        return torch.zeros(len(embeddings), dtype=torch.bool)
    return ((embeddings - empty).abs() <= 1e-6 * empty.abs().amax()).flatten(1).all(1)


def starting_noise(model: TextToImage, seeds: Sequence[int]) -> Tensor:
    """Return the noise (S, *shape) that a generation with these seeds starts from."""
    shape = model.score_model.shape
    noise = [
        torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=model.dtype)
        for seed in seeds
    ]
    return torch.stack(noise).float()


def noise_inputs(model: TextToImage, embeddings: Tensor, seeds: Sequence[int]) -> DetectorInputs:
    """Return every prompt with every seed, prompt after prompt; nothing is computed yet.

    All prompts start from the same noises, so P prompts with S seeds take S evaluations of the
    unconditional branch and P S of the conditional one.
    """
    if not seeds:
        raise ValueError("seeds must hold at least one number.")
    prompts = len(embeddings)
    return DetectorInputs(
        embeddings.float().cpu(),
        starting_noise(model, seeds),
        torch.arange(prompts).repeat_interleave(len(seeds)),
        torch.arange(len(seeds)).repeat(prompts),
    )


def joined_traces(traces: Sequence[Trace]) -> Trace:
    """Return several traces as one; NFE are averaged over the images."""
    first = traces[0]
    for trace in traces[1:]:
        if not torch.equal(trace.times, first.times) or trace.guidance != first.guidance:
            raise ValueError("Traces of different steps or guidance do not compare.")
    images = sum(len(trace.latents) for trace in traces)
    return Trace(
        first.times,
        torch.cat([trace.guidance_norm for trace in traces]),
        torch.cat([trace.movement for trace in traces]),
        torch.cat([trace.region for trace in traces]),
        torch.cat([trace.latents for trace in traces]),
        torch.cat([trace.images for trace in traces]),
        first.guidance,
        sum(trace.nfe * len(trace.latents) for trace in traces) / images,
    )


def per_prompt(values: Tensor, inputs: DetectorInputs) -> Tensor:
    """Return the mean over the rows of each prompt, (P,); NaN for a prompt without rows."""
    prompts = len(inputs.embeddings)
    total = values.new_zeros(prompts).index_add(0, inputs.prompt_index, values)
    rows = values.new_zeros(prompts).index_add(0, inputs.prompt_index, torch.ones_like(values))
    return total / rows
