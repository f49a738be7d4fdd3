"""Attributes of scenes: which parameters one phrase of a caption fixes, and to what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Choice:
    """A phrase with the values and the style that it stands for."""

    phrase: str
    values: tuple[float, ...]
    style: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attribute:
    """A group of parameters and style keys that one phrase fixes together.

    A caption without any of the phrases leaves the parameters free, and the style random.
    """

    name: str
    parameters: tuple[str, ...]
    choices: tuple[Choice, ...]
    styles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse choices that leave something open."""
        for choice in self.choices:
            fits = len(choice.values) == len(self.parameters)
            if not fits or set(choice.style) != set(self.styles):
                raise ValueError(f"{choice.phrase!r} does not fix all of {self.name!r}.")


@dataclass(frozen=True)
class Grammar:
    """The captions of one painter: an opening, a subject and phrases for its attributes.

    `subject` is the attribute that a noun or a name fixes; `anything` are the words for a subject
    that is left free.
    """

    openings: tuple[str, ...]
    subject: Attribute
    anything: str
    details: tuple[Attribute, ...]
    options: Mapping[str, tuple[str, ...]]
    constant: Mapping[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """Return the subject and all details."""
        return (self.subject, *self.details)

    def parameters(self) -> tuple[str, ...]:
        """Return the parameters that some attribute fixes or frees."""
        return tuple(name for each in self.attributes for name in each.parameters)


def attribute(
    name: str,
    parameters: str,
    choices: Mapping[str, Sequence[float]],
    styles: Mapping[str, Mapping[str, str]] | None = None,
) -> Attribute:
    """Return an attribute from tables of values and of styles by phrase."""
    of = styles or {}
    keys = tuple(next(iter(of.values()))) if of else ()
    made = (Choice(phrase, tuple(row), of.get(phrase, {})) for phrase, row in choices.items())
    return Attribute(name, tuple(parameters.split()), tuple(made), keys)
