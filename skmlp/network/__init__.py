"""What a network is: specifications, flat parameters and the formulas of the registries.

Nothing here knows about Numba, scikit-learn, epochs or devices. Every formula is a plain
scalar Python function that stands in exactly one registry entry; the engines compile it.
"""
