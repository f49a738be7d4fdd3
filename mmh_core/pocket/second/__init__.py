"""The second world: graded doses of duplication that no word of a caption gives away.

Scenes use the painters of the first world with a photographic finish on top. What a caption says
is fixed and what it leaves out is free, so that LID* runs from 0 to about 20 for every painter.
Captions are generated first; how often which image of a caption is in the training set is
assigned to them at random afterwards.
"""
