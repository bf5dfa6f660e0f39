"""The parameter `embedding`: which blocks of columns it makes of X, and what it goes with."""

from itertools import groupby
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skmlp._choices import Choice, text_of
from skmlp.embeddings import AS_IT_IS, embedding_formula
from skmlp.network.embedded import columns_of
from skmlp.network.specs import Block, NetworkSpec


def blocks_of(embedding: Any, n_features: int) -> tuple[Block, ...]:
    """Return the blocks of columns of X that are embedded alike; none if all stay what they are.

    Raises
    ------
    ValueError
        If there is one for each of another number of features.
    """
    if embedding is None:
        return ()
    if isinstance(embedding, str | Choice):
        return (Block(n_features, embedding_formula(embedding)),)
    if len(embedding) != n_features:
        raise ValueError(
            f"embedding has {len(embedding)} entries, but X has {n_features} features. Give one "
            "for each, None for those that stay what they are, or a single one for all."
        )
    runs = groupby(map(embedding_formula, embedding))
    blocks = tuple(Block(len(list(run)), formula) for formula, run in runs)
    return () if all(block.formula == AS_IT_IS for block in blocks) else blocks


def check_undisturbed(blocks: tuple[Block, ...], disturbances: dict[str, float]) -> None:
    """Refuse to add anything to codes.

    Raises
    ------
    ValueError
        If that is asked for.
    """
    if not any(block.entry.takes_codes for block in blocks):
        return
    for name, value in disturbances.items():
        if value > 0.0:
            raise ValueError(
                f"{name}={value} does not go with Categories(...) in embedding, whose codes would "
                f"be others. Use {name}=0.0, or one-hot columns in place of codes."
            )


def check_input(estimator: Any, network: NetworkSpec, X: Any) -> None:
    """Refuse rows that a fit cannot embed or scale.

    Raises
    ------
    ValueError
        If X is sparse, or codes are none.
    """
    check_dense(estimator, network, X, "X")
    for column in columns_of(network.inputs):
        if column.place.entry.takes_codes:
            check_codes(column.number, X[:, column.number], int(column.place.constants[0]))


def check_dense(estimator: Any, network: NetworkSpec, X: Any, name: str) -> None:
    """Refuse sparse rows where inputs are embedded or scaled; `name` is what errors call them.

    Raises
    ------
    ValueError
        If they are sparse.
    """
    inputs = network.inputs
    if issparse(X) and inputs.is_changed:
        parameter = "embedding" if inputs.embedding else "input_scale"
        raise ValueError(
            f"{parameter}={text_of(getattr(estimator, parameter))} needs dense {name}, which has a "
            f"number for each feature, but {name} is sparse. Use {name}.toarray(), or leave "
            f"{parameter} out."
        )


def check_codes(number: int, codes: Any, levels: int) -> None:
    """Refuse a column of X that holds other codes than there are.

    Raises
    ------
    ValueError
        If it does.
    """
    is_code = (codes >= 0) & (codes < levels) & (codes == np.floor(codes))
    if not is_code.all():
        raise ValueError(
            f"Column {number} of X must hold whole numbers from 0 to {levels - 1}, the codes of "
            f"Categories({levels}) in embedding, but holds {float(codes[~is_code][0])!r}. Encode "
            "its categories so, with 0 for unknown ones, or raise levels."
        )
