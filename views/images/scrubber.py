"""A denoising trajectory that is scrubbed in the browser: the frames come with the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PIL import Image
from torch import Tensor

from mmh_core.plots.image_grid import reduced, webp_address
from views.images import image_html

#: The longest side of a frame in pixels of its own: that of the frame on the screen. A frame of a
#: photograph then weighs about 30 kB, where its PNG would weigh ten times as much.
_SIDE, _THUMB = 320, 48
#: Up to here every pixel counts, and a file that keeps them all is small.
_SMALL = 128

# Radio buttons keep the choice without a script, and arrow keys move it; pointing at a step shows
# it as long as one points.
_STYLE = """<style>
.im-steps {border: 0; padding: 0; margin: 0; min-width: 0;}
.im-steps legend {font-size: .875rem; padding: 0 0 .35rem;}
.im-steps .im-frames {max-width: 22rem;}
.im-steps .im-frames img {display: none;}
.im-steps .im-strip {display: grid; gap: .35rem; max-width: 26rem; margin-top: .5rem;
  grid-template-columns: repeat(8, 1fr);}
.im-steps label {position: relative; cursor: pointer; font-size: .78rem; line-height: 1.3;
  text-align: center; border-radius: .2rem;}
.im-steps input {position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: pointer;}
.im-steps label:has(:checked) {font-weight: 600; box-shadow: 0 0 0 2px #12788a;}
.im-steps label:has(:focus-visible) {outline: 2px solid currentColor; outline-offset: 3px;}
</style>"""


def show(frames: Sequence[tuple[int, Tensor]], group: str) -> None:
    """Show the frames of steps, the first of them large until another is pointed at or chosen.

    `group` keeps the choices of two images on a page apart.
    """
    image_html.show(body(frames, group))


def body(frames: Sequence[tuple[int, Tensor]], group: str) -> str:
    """Return the frames, uint8 (3, H, W) with the numbers of their steps, as HTML."""
    large = "".join(
        f'<img class="{image_html.pixels(frame)}" src="{_address(frame, _SIDE)}" '
        f'alt="Predicted image after step {step}">'
        for step, frame in frames
    )
    labels = "".join(
        f'<label><img class="{image_html.pixels(frame)}" src="{_address(frame, _THUMB)}" alt="">'
        f'<input type="radio" name="{escape(group)}" value="{step}" '
        f'aria-label="Step {step}"{" checked" if number == 0 else ""}>{step}</label>'
        for number, (step, frame) in enumerate(frames)
    )
    return (
        f"{_STYLE}<style>{_rules(len(frames))}</style>"
        '<fieldset class="im-steps"><legend>Step: point at one, or choose it by click or arrow '
        f'keys</legend><div class="im-frames">{large}</div>'
        f'<div class="im-strip">{labels}</div></fieldset>'
    )


def _rules(count: int) -> str:
    """Return the rules that show the frame of the step pointed at, else of the one chosen."""
    rules = (
        f".im-steps:has(label:nth-child({n}):hover) .im-frames img:nth-child({n}), "
        f".im-steps:not(:has(label:hover)):has(label:nth-child({n}) :checked) "
        f".im-frames img:nth-child({n}) {{display: block;}}"
        for n in range(1, count + 1)
    )
    return "\n".join(rules)


def _address(image: Tensor, most: int) -> str:
    smaller = reduced(image, most).permute(1, 2, 0).contiguous().numpy(force=True)
    return webp_address(Image.fromarray(smaller), lossless=max(smaller.shape[:2]) <= _SMALL)
