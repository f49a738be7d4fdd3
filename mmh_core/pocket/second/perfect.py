"""What a perfect denoiser of the second world would show, on open images of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmh_core.pocket.autoencoder import encode
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.figures import Row
from mmh_core.pocket.scenes import Scene, quantized
from mmh_core.pocket.second.bayes import ENOUGH, Array, Posterior, posterior, slopes_of, wider_than
from mmh_core.pocket.second.families import family_of
from mmh_core.pocket.second.finish import parameters, render
from mmh_core.pocket.second.images import OpenImage, open_images
from mmh_core.pocket.second.training import Workshop
from mmh_core.pocket.second.truth import lid_star

#: Noise scales in units of the latents' spread, and open images, by number, that are sampled.
SCALES = (0.34, 0.1)
_START, IMAGES, DRAWS = 910_000_000, 4, 800


def latent_map(
    scene: Scene, free: tuple[str, ...], encoded: Callable[[np.ndarray], Array]
) -> Callable[[Array], Array]:
    """Return the map from free parameters (N, F) to latents (N, D); the style is the scene's."""
    places = [parameters(scene.painter).index(name) for name in free]

    def mapped(theta: Array) -> Array:
        values = np.repeat(np.asarray(scene.values)[None], len(theta), axis=0)
        values[:, places] = theta
        return encoded(quantized(render(scene.painter, dict(scene.style), values)))

    return mapped


def encoder(vae: Any) -> Callable[[np.ndarray], Array]:
    """Return the encoder of an autoencoder, from bytes to latents (N, D) of unit spread."""

    def encoded(images: np.ndarray) -> Array:
        latents: Array = encode(vae, as_tensor(images)).flatten(1).double().numpy()
        return latents

    return encoded


def perfect_rows(shop: Workshop, first: Path) -> list[Row]:
    """Return LID*, directions wider than the noise, and the trace of the perfect denoiser.

    Means over a few open images, at each noise scale, in latents of the second autoencoder, or of
    the first where that is not built. Images whose effective sample is too small are left out of
    the trace, and counted.
    """
    vae, whose = _autoencoder(shop, first)
    if vae is None:
        words = "perfect denoiser (needs an autoencoder): trace"
        return [Row(words, math.nan, math.nan, math.nan, 0.0, "none", 0)]
    encoded = encoder(vae)
    images = list(open_images(shop.tables, _START, IMAGES))
    lid = [lid_star(each.scene, family_of(each.caption, shop.tables.seed).free) for each in images]
    rows = [_mean(f"open images, latents of the {whose}: LID*", [float(value) for value in lid])]
    for delta in SCALES:
        sampled = [_sampled(each, shop.tables.seed, encoded, delta) for each in images]
        traces = [each.trace for each, _ in sampled if each.enough]
        left_out = len(sampled) - len(traces)
        rows += [
            _mean(f"directions wider than {delta:g}", [float(wider) for _, wider in sampled]),
            _mean(f"trace of the perfect denoiser at {delta:g}, which is its squared error over "
                  f"{delta:g}^2 ({left_out} images with fewer than {ENOUGH:g} effective draws "
                  "left out)", traces),
            _mean(f"trace of our denoiser at {delta:g}", []),
        ]  # fmt: skip
    return rows


def _sampled(
    image: OpenImage, seed: int, encoded: Callable[[np.ndarray], Array], delta: float
) -> tuple[Posterior, int]:
    """Return the posterior of one noisy image, and its directions wider than the noise."""
    free = family_of(image.caption, seed).free
    mapped = latent_map(image.scene, free, encoded)
    names = parameters(image.scene.painter)
    theta = np.array([image.scene.values[names.index(name)] for name in free])
    rng = np.random.default_rng([seed, 20, len(free), round(1_000 * delta)])
    clean = mapped(theta[None])[0]
    observed = clean + delta * rng.standard_normal(clean.shape)
    draw = posterior(mapped, observed, delta, theta, rng, draws=DRAWS)
    slopes = slopes_of(mapped, theta) if len(free) else np.zeros((0, len(clean)))
    return draw, wider_than(slopes, delta)


def _mean(figure: str, values: list[float]) -> Row:
    mean = float(np.mean(values)) if values else math.nan
    return Row(figure, mean, math.nan, math.nan, 0.0, "none", len(values))


def _autoencoder(shop: Workshop, first: Path) -> tuple[Any, str]:
    """Return the second autoencoder, else the first one, and whose it is."""
    if shop.finished("autoencoder"):
        return shop.scaled_autoencoder(), "second autoencoder"
    if (first / "vae").is_dir():
        from mmh_core.text_to_image.stable_diffusion import load

        return load(first, device=shop.device).autoencoder, "first autoencoder"
    return None, ""
