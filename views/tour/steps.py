"""The steps of the tour: the page and the address of each, and where one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from views.manifolds.session import preset_names
from views.models import POCKET
from views.tour import examples
from views.widgets.link_values import TOUR

#: The overview, from any page.
OVERVIEW = "./"
_CIRCLE = "circle"
_FIRST_KIND = "duplicate"  # Which links to the images page leave out.

Name = Literal["training", "copies", "contrast", "mitigation"]


@dataclass(frozen=True)
class Step:
    """One step: a finished state of a page, whose link carries `parameters` and nothing else."""

    name: Name
    page: str
    parameters: dict[str, str]
    title: str

    def shown_by(self, page: str, link: dict[str, str]) -> bool:
        """Return whether a page with this link still shows what the step is about."""
        same = all(link.get(name) == value for name, value in self.parameters.items())
        return page == self.page and same and "job" not in link


def steps() -> tuple[Step, ...]:
    """Return the steps for which there is a finished example, in order."""
    listed = []
    if _CIRCLE in preset_names():
        parameters = {"manifold": _CIRCLE}
        listed.append(Step("training", "manifolds", parameters, "What memorization is"))
    if (run := examples.copied()) is not None:
        listed.append(_images("copies", run, "Images that are copies"))
    if (run := examples.uncopied()) is not None:
        listed.append(_images("contrast", run, "Images that are not"))
    if (after := examples.mitigated()) is not None:
        # Without a mitigation in the link the page shows that of its first sentence.
        parameters = {"model": POCKET, "example": after.path.stem}
        listed.append(Step("mitigation", "mitigation", parameters, "Copies, mitigated"))
    return tuple(listed)


def address(number: int) -> str:
    """Return the link to a step, counted from 1; to the overview before and after them.

    It is the link that the page itself would write: were it another one, the browser would keep
    both, and its Back would lead from one to the other.
    """
    every = steps()
    if not 1 <= number <= len(every):
        return OVERVIEW
    step = every[number - 1]
    return f"{step.page}?{urlencode(step.parameters | {TOUR: str(number)})}"


def _images(name: Name, run: examples.ImageExample, title: str) -> Step:
    kind = run.path.stem
    parameters = {"model": POCKET} | ({} if kind == _FIRST_KIND else {"example": kind})
    return Step(name, "images", parameters, title)
