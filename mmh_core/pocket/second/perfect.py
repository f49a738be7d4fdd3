"""The Bayes-optimal (MMSE) denoiser of newly drawn images, beside the trained denoisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmh_core.dimension.scaled_points import scaled_points
from mmh_core.pocket.autoencoder import encode
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.calibration import DELTAS
from mmh_core.pocket.figures import Row
from mmh_core.pocket.scenes import Scene, quantized
from mmh_core.pocket.second.bayes import ENOUGH, Array, Renderer, posterior, slopes_of, wider_than
from mmh_core.pocket.second.families import family_of
from mmh_core.pocket.second.finish import draw_all, parameters, render
from mmh_core.pocket.second.images import OpenImage, open_images
from mmh_core.pocket.second.kept import Record
from mmh_core.pocket.second.tables import Tables
from mmh_core.pocket.second.truth import lid_star
from mmh_core.statistics.intervals import Interval, half_width, mean_interval
from mmh_core.text_to_image.model import TextToImage

#: Noise scales in units of the latents' spread: those among which LID's is chosen, and a finer.
SCALES = (*DELTAS, 0.1)
#: The number of the first image that is drawn; draws of the posterior, and of noise for the
#: network.
START, DRAWS, NOISE_DRAWS = 910_000_000, 800, 8
#: The largest ratio of denoising to Bayes error that is accepted.
MAX_ALLOWED_RATIO = 2.0
_NAN = math.nan


def items(images: int) -> tuple[str, ...]:
    """Return the names of what is sampled: each image at each scale, all images of a scale first.

    `0.34-2` is image 2 at the scale .34.
    """
    return tuple(f"{delta:g}-{number}" for delta in SCALES for number in range(images))


def _parts(item: str) -> tuple[float, int]:
    delta, number = item.split("-")
    return float(delta), int(number)


def latent_map(
    scene: Scene, free: tuple[str, ...], encode_images: Callable[[np.ndarray], Array]
) -> Renderer:
    """Return the map from free parameters (N, F) to latents (N, D); the style is the scene's."""
    places = [parameters(scene.painter).index(name) for name in free]

    def latents_of(theta: Array) -> Array:
        values = np.repeat(np.asarray(scene.values)[None], len(theta), axis=0)
        values[:, places] = theta
        return encode_images(quantized(render(scene.painter, dict(scene.style), values)))

    return latents_of


def encoder(vae: Any) -> Callable[[np.ndarray], Array]:
    """Return the encoder of an autoencoder, from bytes to latents (N, D) of unit spread."""

    def encode_images(images: np.ndarray) -> Array:
        latents: Array = encode(vae, as_tensor(images)).flatten(1).double().numpy()
        return latents

    return encode_images


def bayes_records(tables: Tables, vae: Any, item: str, draws: int = DRAWS) -> list[Record]:
    """Return LID*, the directions wider than the noise, and the Bayes error of one noisy image.

    The Bayes error is the mean squared error of the Bayes-optimal (MMSE) denoiser divided by
    delta^2, which is the trace of its Jacobian. Caveat: it is given the style of the image (such
    as the kind of hat), which a caption may leave open, so it is a lower bound.
    """
    delta, number = _parts(item)
    image = _image(tables, number)
    free = family_of(image.caption, tables.seed).free
    latents_of = latent_map(image.scene, free, encoder(vae))
    names = parameters(image.scene.painter)
    theta = np.array([image.scene.values[names.index(name)] for name in free])
    clean = latents_of(theta[None])[0]
    noise = _noise(tables, number, delta, clean.shape)
    rng = np.random.default_rng([tables.seed, 20, number, round(1_000 * delta)])
    figures = bayes_figures(latents_of, theta, clean + delta * noise[0], delta, rng, draws)
    truth = {"delta": delta, "image": number, "lid_star": lid_star(image.scene, free)}
    return [truth | figures]


def bayes_figures(
    latents_of: Renderer,
    theta: Array,
    noisy: Array,
    delta: float,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, float]:
    """Return `wider`, `bayes` and `effective` of `bayes_records` for a map from parameters.

    `theta` (P,) are the true parameters, `noisy` (D,) the image they make, with its noise.
    """
    sampled = posterior(latents_of, noisy, delta, theta, rng, draws=draws)
    slopes = slopes_of(latents_of, theta) if len(theta) else np.zeros((0, len(noisy)))
    return {
        "wider": wider_than(slopes, delta),
        "bayes": sampled.trace,
        "effective": sampled.effective,
    }


def denoising_records(model: TextToImage, tables: Tables, vae: Any, item: str) -> list[Record]:
    """Return the denoising error of a network on the same image, `|D(z) - x|^2 / delta^2`.

    A mean over several draws of noise, the first of them that of `bayes_records`.
    """
    delta, number = _parts(item)
    image = _image(tables, number)
    clean = encode(vae, as_tensor(draw_all([image.scene])))
    noise = _noise(tables, number, delta, (*clean.shape[1:],))
    latents = clean + delta * torch.from_numpy(noise).float()
    cond = model.encode_text([image.caption.text]).expand(len(latents), -1, -1)
    points = scaled_points(model.score_model, latents.to(model.device), math.log(delta), cond)
    alpha = points.alpha.reshape(-1, 1, 1, 1)
    with torch.no_grad():
        denoised = model.score_model.x0(alpha * points.x0, points.t, cond).cpu()
    errors = (denoised - clean).flatten(1).double().square().sum(1) / delta**2
    return [{"delta": delta, "image": number, "error": float(errors.mean())}]


def _image(tables: Tables, number: int) -> OpenImage:
    [image] = open_images(tables, START + number, 1)
    return image


def _noise(tables: Tables, number: int, delta: float, shape: tuple[int, ...]) -> Array:
    """Return the noise (draws, *shape) of one image at one scale."""
    rng = np.random.default_rng([tables.seed, 21, number, round(1_000 * delta)])
    noise: Array = rng.standard_normal((NOISE_DRAWS, int(np.prod(shape))))
    return noise.reshape(NOISE_DRAWS, *shape)


def fit_rows(
    bayes: pd.DataFrame, errors: pd.DataFrame, log_delta: float, complete: bool
) -> list[Row]:
    """Return Bayes error, denoising error and their ratio at each noise scale.

    `bayes` as of `bayes_records`, `errors` with network, delta, image and error. Images whose
    effective sample is too small are left out, and counted. The criterion holds at the calibrated
    scale `log_delta`, NaN before there is one.
    """
    rows: list[Row] = []
    figure = "ratio of denoising to Bayes error at the calibrated noise scale"
    criterion_row = Row(figure, _NAN, _NAN, _NAN, MAX_ALLOWED_RATIO, "most", 0)
    if not bayes.empty:
        one_each = bayes.groupby("image").lid_star.first()
        rows.append(_mean("newly drawn images: LID*", one_each))
    for delta in sorted(set(bayes.delta.tolist())) if len(bayes) else []:
        part = bayes[bayes.delta == delta]
        enough = part[part.effective >= ENOUGH]
        left_out = len(part) - len(enough)
        rows += [
            _mean(f"directions wider than {delta:g}", part.wider),
            _mean(
                f"Bayes MSE / delta^2 at delta = {delta:g}, the trace of the Jacobian of the "
                f"Bayes-optimal denoiser ({left_out} images with fewer than {ENOUGH:g} effective "
                "draws left out)",
                enough.bayes,
            ),
        ]
        if errors.empty:
            continue
        own = errors[errors.delta == delta]
        means = own.groupby("image").error.mean().reset_index()
        both = enough.merge(means, on="image")
        rows.append(
            _mean(f"denoising MSE / delta^2 at delta = {delta:g}, all networks", both.error)
        )
        ratio = ratio_interval(both.error.to_numpy(), both.bayes.to_numpy())
        figure = f"ratio of denoising to Bayes error at delta = {delta:g}"
        rows.append(Row(figure, ratio.value, ratio.low, ratio.high, 0.0, "none", len(both)))
        rows += _by_network(own, enough)
        if math.isclose(delta, math.exp(log_delta), rel_tol=1e-3):
            ends = (ratio.value, ratio.low, ratio.high) if complete else (_NAN,) * 3
            criterion_row = Row(figure, *ends, MAX_ALLOWED_RATIO, "most", len(both))
    return [criterion_row, *rows]


def _by_network(errors: pd.DataFrame, bayes: pd.DataFrame) -> list[Row]:
    """Return the ratio of each network, where there are several."""
    rows = []
    parts = list(errors.groupby("network"))
    for name, part in parts if len(parts) > 1 else []:
        both = bayes.merge(part, on="image")
        ratio = ratio_interval(both.error.to_numpy(), both.bayes.to_numpy())
        figure = f"of these, network {name}"
        rows.append(Row(figure, ratio.value, ratio.low, ratio.high, 0.0, "none", len(both)))
    return rows


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray) -> Interval:
    """Return the ratio of two means of pairs (N,) with a 95 % interval.

    The jackknife's error of its logarithm, and Student's t with N - 1 degrees of freedom. NaN
    ends for fewer than three pairs, NaN for a mean that is not positive.
    """
    count = len(numerator)
    if not count or numerator.sum() <= 0 or denominator.sum() <= 0:
        return Interval(_NAN, _NAN, _NAN)
    value = float(numerator.sum() / denominator.sum())
    loo_numerator, loo_denominator = numerator.sum() - numerator, denominator.sum() - denominator
    if count < 3 or loo_numerator.min() <= 0 or loo_denominator.min() <= 0:
        return Interval(value, _NAN, _NAN)
    without = np.log(loo_numerator / loo_denominator)
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    factor = math.exp(half_width(error, count))
    return Interval(value, value / factor, value * factor)


def _mean(figure: str, values: Sequence[float] | pd.Series) -> Row:
    interval = mean_interval(torch.tensor(list(values), dtype=torch.float64))
    ends = (interval.value, interval.low, interval.high)
    return Row(figure, *ends, 0.0, "none", len(values))
