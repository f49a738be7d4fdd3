"""The embedded world: images whose true LID is known, and the model that is trained on them."""
