"""Score fused pictures of other people's methods and of our own, and set them beside each other.

`evaluate` scores folders, `run` fuses a data set with every method, `ranking` says who is better and how
surely, `tables`, `figures` and `report` show it.
"""
