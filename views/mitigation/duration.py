"""Say how long a comparison will take, judging by runs that ended."""

from __future__ import annotations

from mmh_core.studies.mitigation.run import MitigationConfig
from views.mitigation import session as mitigation_session
from views.widgets.words import in_words, plural


def sentence(config: MitigationConfig) -> str:
    """Return one line on how much is drawn and how long it takes, or that nobody knows."""
    count = len(config.treatments) * len(config.prompts) * len(config.seeds)
    found = mitigation_session.expected_seconds(config)
    drawn = plural(count, "image")
    if found is None:
        return (
            f"{drawn}. The duration is unknown before the first comparison with this model on "
            "this machine; on a CPU a large model needs minutes for each image."
        )
    seconds, here = found
    source = "judging by earlier runs here" if here else "roughly, measured on two CPU cores"
    return f"{drawn}, about {in_words(seconds)} ({source})."
