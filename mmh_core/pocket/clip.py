"""Training of a tiny CLIP on the world; its text half conditions the denoiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmh_core.files import replacing, write_text
from mmh_core.formats.untrusted import parse_json
from mmh_core.pocket.augmentations import crop
from mmh_core.pocket.batches import Precision, as_unit, computing
from mmh_core.pocket.fit import Fitted, Fitting, Loss, fit
from mmh_core.pocket.folder import Place
from mmh_core.pocket.tokenizer import LENGTH
from mmh_core.records import MMHError


@dataclass(frozen=True)
class ClipConfig:
    """Shapes of both halves, and length of training."""

    fitting: Fitting = field(
        default_factory=lambda: Fitting(steps=500, batch=128, rate=1e-3, weight_decay=0.02)
    )
    text_width: int = 128
    text_layers: int = 3
    vision_width: int = 160
    vision_layers: int = 4
    heads: int = 4
    patch: int = 8
    width: int = 128


@dataclass(frozen=True)
class Captioned:
    """The captions of N images, as tokens.

    `ids` (C, LENGTH) are the distinct captions' tokens; `first` and `count` (N,) are the range of
    `listed` with the numbers of an image's captions; `content` (N,) is equal for images whose
    captions mean the same.
    """

    ids: Tensor
    listed: Tensor
    first: Tensor
    count: Tensor
    content: Tensor

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return for each image number the number of one of its captions, drawn uniformly."""
        share = torch.rand(len(images), generator=generator, dtype=torch.float64)
        count = self.count[images]
        offset = (share * count).long().clamp(max=count - 1)
        return self.listed[self.first[images] + offset]


def captioned(captions: Sequence[Sequence[str]], content: Sequence[str], encode: Any) -> Captioned:
    """Return the captions of images as tokens; `encode` maps a list of strings to ids."""
    numbers: dict[str, int] = {}
    listed = [numbers.setdefault(text, len(numbers)) for texts in captions for text in texts]
    count = torch.tensor([len(texts) for texts in captions])
    if not len(count) or int(count.min()) < 1:
        raise ValueError("Every image needs a caption.")
    keys = {key: i for i, key in enumerate(dict.fromkeys(content))}
    return Captioned(
        encode(list(numbers)),
        torch.tensor(listed),
        count.cumsum(0) - count,
        count,
        torch.tensor([keys[key] for key in content]),
    )


def new_clip(vocabulary: int, size: int, config: ClipConfig) -> Any:
    """Return a CLIPModel with fresh weights for images of this side.

    The last two tokens of the vocabulary are the start and the end of a prompt.
    """
    from transformers import CLIPConfig, CLIPModel

    text = {
        "vocab_size": vocabulary,
        "hidden_size": config.text_width,
        "intermediate_size": 4 * config.text_width,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": LENGTH,
        "projection_dim": config.width,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": 3 * config.vision_width,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.heads,
        "image_size": size,
        "patch_size": config.patch,
        "projection_dim": config.width,
    }
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=config.width)
    )


def train_clip(
    images: Tensor, texts: Captioned, config: ClipConfig, place: Place, precision: Precision
) -> Iterator[Fitted]:
    """Train on uint8 images (N, 3, H, W), each drawn as often as any other."""
    generator = torch.Generator().manual_seed(place.seed)
    with place.seeded():
        # Every caption ends with the last token of the vocabulary.
        clip = new_clip(int(texts.ids.max()) + 1, images.shape[-1], config).to(place.device)
    yield from fit(
        clip,
        _loss(clip, images, texts, config.fitting.batch, precision),
        config.fitting,
        generator=generator,
        checkpoint=place.checkpoint,
        stamp=place.stamp,
    )


def multi_positive_loss(images: Tensor, texts: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
    """Return the contrastive loss of B pairs in which pairs of one key match one another.

    Half the sum over both directions of `-mean_i mean_{j: key j = key i} log p_ij`, with p the
    softmax of `scale` times the cosines (Radford et al. 2021 where all keys differ; Khosla et al.
    2020, the mean outside of the logarithm).
    """
    logits = scale * F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    same = (keys[:, None] == keys).to(logits)
    share = same / same.sum(1, keepdim=True)
    return -(share * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean() / 2


def _loss(clip: Any, images: Tensor, texts: Captioned, batch: int, precision: Precision) -> Loss:
    device = next(iter(clip.parameters())).device

    def loss(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(images), (batch,), generator=generator)
        ids = texts.ids[texts.draw(chosen, generator)].to(device)
        mirrored = torch.rand(batch, generator=generator) < 0.5
        x = as_unit(images[chosen], device)
        x = torch.where(mirrored.to(device)[:, None, None, None], x.flip(3), x)
        x = crop(x, generator)
        with computing(device, precision):
            seen = clip.visual_projection(clip.vision_model(x * 2 - 1).pooler_output)
            read = clip.text_projection(clip.text_model(ids).pooler_output)
        scale = clip.logit_scale.exp().clamp(max=100)
        return multi_positive_loss(
            seen.float(), read.float(), texts.content[chosen].to(device), scale
        )

    return loss


@torch.no_grad()
def embed_images(clip: Any, images: Tensor, batch: int = 256) -> Tensor:
    """Return unit vectors (N, width) of uint8 images (N, 3, H, W), on the CPU."""
    device = next(iter(clip.parameters())).device
    parts = [
        clip.visual_projection(
            clip.vision_model(as_unit(part, device) * 2 - 1).pooler_output
        ).cpu()
        for part in torch.split(images, batch)
    ]
    return F.normalize(torch.cat(parts), dim=1)


@torch.no_grad()
def embed_captions(clip: Any, ids: Tensor, batch: int = 256) -> Tensor:
    """Return unit vectors (N, width) of captions' tokens (N, LENGTH), on the CPU."""
    device = next(iter(clip.parameters())).device
    parts = [
        clip.text_projection(clip.text_model(part.to(device)).pooler_output).cpu()
        for part in torch.split(ids, batch)
    ]
    return F.normalize(torch.cat(parts), dim=1)


def recall_at_1(
    images: Tensor, texts: Tensor, keys: Tensor, *, among: int, generator: torch.Generator
) -> float:
    """Return how often an image finds its caption among this many of different content.

    `images` and `texts` (N, width) are unit vectors of N pairs, `keys` (N,) their content. Each
    image is shown its own caption and captions of other contents, one each, drawn at random.
    """
    kinds: Tensor = torch.unique(keys)
    if len(kinds) < among:
        raise ValueError(f"{among} contents are needed, and there are only {len(kinds)}.")
    hits = 0
    for i, key in enumerate(keys):
        others = kinds[kinds != key]
        others = others[torch.randperm(len(others), generator=generator)[: among - 1]]
        matches = [int(torch.nonzero(keys == other)[0]) for other in others]
        rivals = (texts[matches] @ images[i]).max()
        hits += int(texts[i] @ images[i] > rivals)
    return hits / len(keys)


_TEXT = "text_model."


def save_clip(clip: Any, folder: Path) -> None:
    """Write a CLIP as float16 safetensors, without its text half, which is the text encoder's."""
    from safetensors.torch import save_file

    weights = {
        name: value.half().contiguous()
        for name, value in clip.state_dict().items()
        if not name.startswith(_TEXT)
    }
    with replacing(folder / "model.safetensors") as temporary:
        save_file(weights, temporary)
    write_text(folder / "config.json", clip.config.to_json_string(use_diff=False))


def load_clip(folder: Path) -> Any:
    """Return the CLIPModel of the model in a folder, from clip/ and text_encoder/, in float32.

    Errors: MMHError for what is missing, damaged or does not fit together.
    """
    from safetensors.torch import load_file
    from transformers import CLIPConfig, CLIPModel

    try:
        settings = parse_json((folder / "clip" / "config.json").read_bytes())
        clip: Any = CLIPModel(CLIPConfig(**settings))
        weights = load_file(folder / "clip" / "model.safetensors")
        for name, value in load_file(folder / "text_encoder" / "model.safetensors").items():
            weights[_TEXT + name.removeprefix(_TEXT)] = value
        clip.load_state_dict({name: value.float() for name, value in weights.items()})
    except Exception as error:
        raise MMHError(
            f"The CLIP in {folder} cannot be read: build or copy the model again."
        ) from error
    return clip.requires_grad_(False).eval()
