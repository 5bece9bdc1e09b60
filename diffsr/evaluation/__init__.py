"""Scores of restored speech.

`metrics` names the scores (`distortion`, `perceptual`, `blind` and `align` compute them; `pieces` and `swaps`
those of several talkers together), `item` scores the talkers of one item (`permutation` finds who is who),
`evaluate` files and folders; `row`, `results`, `tables` and `csv_file` are what comes out.
"""
