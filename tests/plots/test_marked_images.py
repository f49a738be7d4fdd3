"""Images to zoom into: regions lie where they were marked, images of one shape move together."""

from __future__ import annotations

import pytest

from mmh_core.plots.marked_images import ImagePanel, marked_images
from mmh_core.plots.theme import alt_text

SOURCE = "data:image/png;base64,AAAA"


def test_pixels_cover_the_axes_and_regions_lie_on_their_image() -> None:
    panels = [
        ImagePanel("generated <b>image</b>", SOURCE, 64, 32),
        ImagePanel("training image 4", SOURCE, 128, 64, ((2, (0.25, 0.5, 0.75, 1.0)),)),
    ]
    figure = marked_images(panels)
    images = [trace for trace in figure.data if trace.type == "image"]
    for panel, trace in zip(panels, images, strict=True):
        # The first pixel begins at 0, the last one ends at 1: x0 is the middle of the first.
        assert trace.x0 - trace.dx / 2 == 0 and trace.y0 - trace.dy / 2 == 0
        assert trace.dx * panel.width == pytest.approx(1) == trace.dy * panel.height
        assert trace.source == SOURCE and trace.zsmooth is False
    outlines = {(s.x0, s.y0, s.x1, s.y1, s.xref, s.yref) for s in figure.layout.shapes}
    assert outlines == {(0.25, 0.5, 0.75, 1.0, "x2", "y2")}
    assert "2" in [note.text for note in figure.layout.annotations]
    assert figure.layout.annotations[0].text == "generated &lt;b&gt;image&lt;/b&gt;"
    assert (figure.layout.xaxis2.matches, figure.layout.yaxis2.matches) == ("x", "y")
    assert figure.layout.yaxis.scaleratio == 0.5 and tuple(figure.layout.yaxis.range) == (1, 0)
    assert alt_text(figure).endswith("marked regions: 1.")


def test_images_of_two_shapes_keep_their_own() -> None:
    figure = marked_images(
        [ImagePanel("a", SOURCE, 64, 64), ImagePanel("b", SOURCE, 64, 96)],
    )
    assert figure.layout.xaxis2.matches is None
    assert (figure.layout.yaxis.scaleratio, figure.layout.yaxis2.scaleratio) == (1, 1.5)
    assert figure.layout.yaxis2.scaleanchor == "x2"
