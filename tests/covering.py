"""Cases that cover pairs: a few combinations of which any two values of different things meet."""

from itertools import combinations, product


def covering(*axes):
    """Return combinations of values, one from each axis, in which all pairs of values occur.

    Each is the one with most pairs that have not yet occurred, the first of them in the order of
    the product: always the same ones.
    """
    axes = [list(axis) for axis in axes]
    numbers = list(product(*(range(len(axis)) for axis in axes)))
    open_pairs = {pair for combination in numbers for pair in pairs_of(combination)}
    cases = []
    while open_pairs:
        best = max(numbers, key=lambda case: sum(pair in open_pairs for pair in pairs_of(case)))
        open_pairs.difference_update(pairs_of(best))
        cases.append(tuple(axis[i] for axis, i in zip(axes, best, strict=True)))
    return cases


def pairs_of(combination):
    return combinations(enumerate(combination), 2)
