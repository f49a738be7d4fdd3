"""What words a model was trained with, before a person types, and what lies outside them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from views import models
from views.widgets import layout

#: Words that are shown; the rest is counted.
_MOST = 120
_MOST_NAMED = 8


def words_of(model: str) -> tuple[str, ...]:
    """Return the words of a model's training captions, () where nobody knows them."""
    folder = models.folder_of(model)
    file = None if folder is None else folder / "training.parquet"
    if folder is None or file is None or not file.is_file():
        return ()
    return _words(str(folder), file.stat().st_mtime_ns)


@st.cache_resource(show_spinner=False, max_entries=4)
def _words(folder: str, stamp: int) -> tuple[str, ...]:
    from mmh_core.studies.images.vocabulary import training_words

    return training_words(Path(folder))


def section(model: str) -> None:
    """Show the words that a small model knows, the most frequent first; nothing for others."""
    vocabulary = words_of(model)
    if not vocabulary:
        return
    with st.expander(f"Words that this model knows ({len(vocabulary):,})"):
        st.caption(layout.plain(", ".join(vocabulary[:_MOST])))
        if len(vocabulary) > _MOST:
            st.caption(f"and {len(vocabulary) - _MOST:,} more, most of them names.")


def note(model: str, prompt: str) -> None:
    """Show which words of a prompt lie outside the training captions; nothing where none do."""
    from mmh_core.studies.images.vocabulary import unfamiliar_words

    words = unfamiliar_words(prompt, words_of(model))
    if not words:
        return
    named = ", ".join(words[:_MOST_NAMED])
    more = f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    st.warning(
        layout.plain(
            f"No training caption of this small model has: {named}{more}. It never saw what they "
            "name, so its image does not show it, and a verdict says nothing about such prompts "
            "on another model."
        ),
        icon=":material/menu_book:",
    )
