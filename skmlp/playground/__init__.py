"""A page in the browser in which a network is watched while it learns.

`python -m skmlp playground` starts it; ``docs/design/playground.md`` tells how it is built.
"""
