"""What kernels are told: positions in the tables of a model, and numbers passed by value.

Every model has one row in a table of integers and one in a table of doubles. The host writes what
a plan asks for, kernels count there where the fit stands; so a step that is launched twice goes
on where it ended, whoever launches it.
"""

from typing import NamedTuple

from skmlp.engines.cuda.device import int64, types

# Columns of the table of integers: the plan ...
N_EPOCHS = 0
N_ROWS = 1
BATCH_SIZE = 2
ORDERS = 3  # where explicit orders begin, or -1: drawn by the key
SUBSET = 4  # where the numbers of the rows to draw from begin
KEY = 5
FIRST_EPOCH = 6
ORDER_BITS = 7
OPTIMIZER = 8  # code, or -1: the update computes the constants of its step
LOSSES = 9  # where the losses of the epochs are written
RATES = 17  # where the learning rates of the batches begin, or -1: one is that of all
SEED = 18  # what the masks of dropout are keyed by
# ... and where the fit stands
EPOCH = 10
START = 11  # position of the current batch in the epoch
BATCH_ROWS = 12  # rows of the current batch; 0: the model is done
COUNT = 13  # rows to work on: BATCH_ROWS, or 0 if none of them has a weight
STEP = 14  # updates made
FINITE = 15  # whether all losses have been
HEALTHY = 16  # whether all parameters have been
N_INTEGERS = 20

# Columns of the table of doubles
ALPHA = 0
LEARNING_RATE = 1
SETTINGS = 2
MAX_SETTINGS = 4
CONSTANTS = SETTINGS + MAX_SETTINGS
N_CONSTANTS = 4
INVERSE_WEIGHT = CONSTANTS + N_CONSTANTS
TOTAL = INVERSE_WEIGHT + 1  # of the losses in this epoch, each times its rows
COUNTED = TOTAL + 1  # rows that went into it
N_DOUBLES = 16


class Layer(NamedTuple):
    """One layer of connections, for all models of a group.

    Units are true numbers; offsets count from the start of a model's memory and rows in memory
    are `padded` units apart.

    Attributes
    ----------
    fan_in, fan_out : int
    inputs, outputs : int
        Offsets in the workspace.
    output_deltas, input_deltas : int
        Offsets in the workspace: the loss's derivatives by `outputs` (before their activation)
        and by `inputs`.
    coefs, intercepts : int
        Offsets in the parameters.
    activation, input_activation : int
        Codes of what is applied to `outputs` and what was applied to `inputs`.
    from_source : int
        1 if the inputs are rows of X where they lie, found by the table of row numbers.
    """

    fan_in: int
    fan_out: int
    inputs: int
    outputs: int
    output_deltas: int
    input_deltas: int
    coefs: int
    intercepts: int
    activation: int
    input_activation: int
    from_source: int


class Group(NamedTuple):
    """What the models of a group have in common.

    Attributes
    ----------
    parameters, state, workspace, rows : int
        Distances from one model's memory to the next one's.
    n_coefs : int
        How many of the parameters, from the first one on, are penalized.
    n_states : int
        State vectors, each as long as the parameters.
    source_columns : int
        Distance from row to row of X.
    loss : int
        Code of the loss.
    target_columns : int
    output_activation : int
        Code, or -1 for softmax.
    weighted : int
        Whether rows have weights; else each counts as one.
    penalties : int
        Distance between the models' partial sums of squared coefficients.
    """

    parameters: int
    state: int
    workspace: int
    rows: int
    n_coefs: int
    n_states: int
    source_columns: int
    loss: int
    target_columns: int
    output_activation: int
    weighted: int
    penalties: int


class Slab(NamedTuple):
    """The rows of a batch that are in the workspace at once."""

    start: int
    rows: int


def tuple_type(cls: type) -> types.Type:
    """Return the type by which a kernel takes one of these tuples."""
    return types.NamedUniTuple(int64, len(cls._fields), cls)  # type: ignore[attr-defined]
