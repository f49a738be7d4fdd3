"""What this app shows and what it does not, as questions that people ask before they trust it."""

from __future__ import annotations

from html import escape

import streamlit as st

from views.session import data_folder
from views.widgets import layout

_STYLE = """<style>
.ov-answers details {border-bottom: 1px solid rgba(128,140,146,.22); padding: .45rem 0;
  font-size: .9rem; line-height: 1.5;}
.ov-answers summary {cursor: pointer; font-weight: 600;}
.ov-answers p {margin: .4rem 0 .2rem; max-width: 50rem; overflow-wrap: anywhere;}
.ov-answers a {color: inherit; text-decoration-color: #0b8fb3; text-underline-offset: .2em;}
</style>"""


def answers(folder: str) -> tuple[tuple[str, str, str, str], ...]:
    """Return question, answer, and the words and address of a link each.

    `folder` is where this server keeps what people do with it.
    """
    return (
        (
            "Does it work on our model?",
            "Checkpoints of the form of Stable Diffusion 1 and 2 run through the same code: a "
            "folder, a safetensors file or a fine-tuned network, chosen under Model. LID is "
            "judged once the model is calibrated on some of its own reference prompts, and "
            "copies are found once its training images are indexed; before that the app says "
            "unknown and gives no green verdict. SDXL, SD 3 and Flux do not run yet.",
            "Choose a model",
            "images",
        ),
        (
            "These are images of 64 x 64 of an invented world: what follows for us?",
            "That the measurements find what is known to be there. People, brands and places are "
            "invented; the training set is known to the last image, so copies, their cause and "
            "the true LID can be checked. How often another model copies, and which detector or "
            "mitigation is best for it, does not follow: measure that on your model.",
            "What LID says",
            "glossary?term=LID",
        ),
        (
            "How often is it wrong?",
            "That is counted on prompts that no threshold was set on, with intervals, beside a "
            "score of the words alone that never sees the model. A threshold comes with the "
            "false-positive rate it was set at and the number of reference prompts behind it: "
            "few prompts bound rare errors badly.",
            "Error rates at a threshold",
            "benchmark",
        ),
        (
            "What do 10,000 prompts cost, and on which machine?",
            "An early scan takes at most four network evaluations for each prompt and seed, where "
            "generating takes two for each sampling step: about a fifteenth of 30 steps. It runs "
            "on a CPU; a large checkpoint wants a GPU. The scan states its pace on this machine "
            "after the first prompts, and resumes where it was stopped.",
            "Scan a table",
            "review?tab=scan",
        ),
        (
            "Where do our prompts go, and how are they deleted?",
            f"Prompts, images and judgements stay on this machine, in {folder}; deleting that "
            "folder deletes all of them. Nothing is sent anywhere, except, with consent given for "
            "a single call, one prompt to a rewording service that whoever started the app named.",
            "Export a case",
            "review?tab=export",
        ),
        (
            "Whose images are these, and who is depicted?",
            "Training images and networks of the shipped models were rendered and trained by this "
            "project, under Apache-2.0, and depict nobody. The handwritten digits are from the "
            "UCI repository (Alpaydin and Kaynak 1998) under CC BY 4.0. Images that you index "
            "stay where they are.",
            "Training images",
            "glossary?term=training%20image",
        ),
        (
            "Who judged, and does a verdict prove anything in court?",
            "A verdict is the program's and a hint; a judgement is a person's, under the name "
            "that the sign-in or the person gave, in a log whose rows are chained by hashes. The "
            "report names reviewers, thresholds and what cannot be said. That an image copies is "
            "for a person to see: the training image always stands beside it.",
            "Review",
            "review",
        ),
    )


def section() -> None:
    """Show the questions; each opens its answer without the server."""
    layout.part("What this shows, and what it does not")
    entries = "".join(
        f"<details><summary>{escape(question)}</summary><p>{escape(answer)} "
        f'<a href="{escape(address)}">{escape(words)} →</a></p></details>'
        for question, answer, words, address in answers(str(data_folder()))
    )
    st.html(f'{_STYLE}<div class="ov-answers">{entries}</div>')
