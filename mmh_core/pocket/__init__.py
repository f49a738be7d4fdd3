"""The shipped world: images whose true LID is known, and the model that is trained on them.

The modules of this folder are the first world, whose model is shipped and which the app shows.
`mmh_core.pocket.second` is the second world: its tables, its truth and its stages of training. It
replaces the first one once its model is built and accepted.
"""
