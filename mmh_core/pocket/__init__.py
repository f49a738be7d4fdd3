"""The embedded world: pictures whose true LID is known, and the model that is trained on them."""
