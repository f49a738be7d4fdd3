"""Played figures: a frame says what its snapshot says, and holds no more than a screen shows."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from mmh_core.plots import playback, theme
from mmh_core.studies.images.run import ImageResult
from tests.drawn_runs import drawn_run
from tests.plots.test_manifold_plots import a_run, snapshot


def test_each_frame_of_a_training_is_a_snapshot() -> None:
    early, late = snapshot(60), snapshot(1_200)
    moved = replace(late.generated, points=torch.tensor([[1.23456789, 0.0], [0.0, 3.0]]))
    lid = torch.tensor([math.nan, 0.0123])
    late = replace(late, generated=replace(moved, lid=lid))
    figure = playback.training(a_run(early, late))
    assert [frame.name for frame in figure.frames] == ["60", "1200"]
    samples, trained = figure.frames[1].data
    # The frame is 7.4 wide: a thousandth is less than a pixel of it.
    assert list(samples.x) == [1.235, 0.0] and list(samples.y) == [0.0, 3.0]
    # What has no LID is off the scale, as in the figure to select in.
    assert list(samples.marker.color) == [theme.NEUTRAL, 0.01]
    # Training points stay: only their color is sent again.
    assert trained.x is None and list(trained.marker.color) == [0.0, 1.0, 2.0]
    assert all(frame.traces == (1, 2) for frame in figure.frames)
    first = figure.frames[0].data[0]
    assert list(first.x) == pytest.approx(early.generated.points[:, 0].tolist())


def test_the_figure_stands_at_the_last_snapshot_and_the_slider_counts_the_memorized() -> None:
    early = replace(snapshot(1), fits=False)
    figure = playback.training(a_run(early, snapshot(60)))
    last = figure.frames[-1].data[0]
    assert list(figure.data[1].x) == list(last.x)
    assert figure.data[1].marker.color == last.marker.color
    (slider,) = figure.layout.sliders
    # Of the two samples one is an exact copy; before the fit is good nothing is said of them.
    labels = ["1 step: no good fit yet", "60 steps: 1 of 2 memorized"]
    assert [step.label for step in slider.steps] == labels
    assert slider.active == 1
    assert [step.args[0] for step in slider.steps] == [("1",), ("60",)]
    with pytest.raises(ValueError, match="nothing to play"):
        playback.training(a_run())


@pytest.mark.parametrize("moves", [True, False])
def test_play_and_slider_animate_frames_that_the_figure_holds(moves: bool) -> None:
    run = drawn_run()
    figure = playback.training(a_run(snapshot(1), snapshot(2))) if moves else None
    figure = figure or playback.denoising([_framed(image) for image in run.images])
    assert figure is not None
    (menu,), (slider,) = figure.layout.updatemenus, figure.layout.sliders
    play, pause = menu.buttons
    assert {thing.method for thing in (play, pause, *slider.steps)} == {"animate"}
    assert play.args[0] is None and pause.args[0] == (None,)
    assert play.args[1]["frame"]["duration"] > play.args[1]["transition"]["duration"] >= 0
    # Scrubbing waits for nothing; images are painted anew, points move.
    assert all(step.args[1]["transition"]["duration"] == 0 for step in slider.steps)
    assert play.args[1]["frame"]["redraw"] is not moves


def _framed(image: ImageResult, steps: int = 2) -> ImageResult:
    """Return an image with flat gray frames whose brightness says which image and step it is."""
    values = torch.tensor([40 * image.index + 20 * step + 10 for step in range(steps)])
    frames = values[:, None, None, None].expand(steps, 3, 32, 16).to(torch.uint8)
    return replace(image, frames=frames, frame_steps=4 * (torch.arange(steps) + 1))


def test_frames_of_a_denoising_show_each_seed_and_the_training_image_at_its_place() -> None:
    run = drawn_run()
    images = [_framed(image) for image in run.images[:2]]
    figure = playback.denoising(images)
    assert figure is not None
    assert [frame.name for frame in figure.frames] == ["4", "8"]
    assert figure.data[0].source == figure.frames[-1].data[0].source
    for step, frame in enumerate(figure.frames):
        data = frame.data[0].source.partition("base64,")[2]
        strip = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        names = [note.text for note in figure.layout.annotations]
        assert names[:2] == [f"seed {image.seed}" for image in images]
        for note, image in zip(figure.layout.annotations, images, strict=False):
            gray = strip.getpixel((round(note.x), 16))
            assert isinstance(gray, tuple)
            assert gray[0] == pytest.approx(40 * image.index + 20 * step + 10, abs=4)  # lossy
    near = [image.evidence_neighbor for image in images]
    assert any(one is not None and names[-1] == f"training<br>image {one.id}" for one in near)


def test_without_kept_steps_there_is_nothing_to_play() -> None:
    images = drawn_run().images
    bare = [
        replace(image, frames=image.frames[:0], frame_steps=image.frame_steps[:0])
        for image in images
    ]
    assert playback.denoising(bare) is None
    assert playback.denoising([]) is None
    # Of images with other steps, those of the first are played.
    mixed = [_framed(images[0]), _framed(images[1], 3)]
    figure = playback.denoising(mixed)
    assert figure is not None
    seeds = [note.text for note in figure.layout.annotations if note.text.startswith("seed")]
    assert seeds == [f"seed {images[0].seed}"]
