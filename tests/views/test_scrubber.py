"""Scrubbed trajectories: each step has its frame, and a photograph's frames stay light."""

from __future__ import annotations

import base64
import io
import re

import torch
from PIL import Image

from views.images import scrubber


def _pixels(source: str) -> torch.Tensor:
    image = Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB")
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(
        image.height, image.width, 3
    )


def test_each_step_has_its_frame_and_the_first_is_chosen() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = [
        (step, torch.randint(0, 256, (3, 64, 48), generator=generator, dtype=torch.uint8))
        for step in (2, 5, 30)
    ]
    body = scrubber.body(frames, 'a"b')
    large = re.findall(r'base64,([^"]*)" alt="Predicted image after step (\d+)"', body)
    assert [int(step) for _, step in large] == [2, 5, 30]
    for (source, _), (_, frame) in zip(large, frames, strict=True):
        assert torch.equal(_pixels(source).permute(2, 0, 1), frame)  # Small: every pixel is kept.
    choices = re.findall(
        r'<input type="radio" name="([^"]*)" value="(\d+)"[^>]*?( checked)?>', body
    )
    assert choices == [
        ("a&quot;b", "2", " checked"),
        ("a&quot;b", "5", ""),
        ("a&quot;b", "30", ""),
    ]
    # The third frame is shown by the third step and by no other.
    rules = [rule for rule in body.split("\n") if ".im-frames img:nth-child(3)" in rule]
    assert len(rules) == 1 and rules[0].count("label:nth-child(3)") == 2


def test_the_frames_of_a_photograph_stay_light() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 40, 1024), torch.linspace(0, 40, 1024), indexing="ij")
    generator = torch.Generator().manual_seed(0)
    grain = 12 * torch.randn(3, 1024, 1024, generator=generator)
    photo = 128 + 60 * torch.stack([x.sin(), y.cos(), (x * y / 9).sin()]) + grain
    frame = photo.clamp(0, 255).to(torch.uint8)
    body = scrubber.body([(step, frame) for step in range(16)], "run")
    assert len(body) < 600_000
    assert _pixels(re.findall(r'base64,([^"]*)" alt="Pred', body)[0]).shape == (320, 320, 3)
