"""The passes of the inputs: what the first layer reads of rows of X, and the way back."""

from skmlp.engines.cpu.compilation import inner
from skmlp.engines.cpu.pointers import advance, call_kernel, int64_pointer, pointer
from skmlp.engines.cpu.tables import (
    EMBED_BACK,
    EMBED_COLUMNS,
    EMBED_FIELDS,
    EMBED_KERNEL,
    EMBED_START,
    EMBED_WIDTH,
    EMBEDS,
    N_EMBEDS,
    SCALE,
    SCALE_BACK,
)


@inner
def embed_rows(layers, work, parameters, first, last, scratch):
    """Compute what the first layer reads of some rows, which have been copied from X."""
    inputs = pointer(layers.reshape(layers.size), 0)
    buffer, table = pointer(work.buffer, 0), int64_pointer(layers[0, EMBEDS])
    for number in range(layers[0, N_EMBEDS]):
        block = advance(table, number * EMBED_FIELDS)
        if block[EMBED_KERNEL]:
            own = (block, inputs, buffer, parameters, first, last, scratch)
            call_kernel(block[EMBED_KERNEL], own)
    if layers[0, SCALE]:
        call_kernel(layers[0, SCALE], (inputs, buffer, parameters, first, last))


@inner
def go_back_columns(layers, work, parameters, rows, scratch, thread, threads):
    """Compute the gradient by what some columns of X have learned, from all rows of a slab.

    Threads share the columns of each block; of single columns each gets others.
    """
    inputs = pointer(layers.reshape(layers.size), 0)
    buffer, table = pointer(work.buffer, 0), int64_pointer(layers[0, EMBEDS])
    for number in range(layers[0, N_EMBEDS]):
        block = advance(table, number * EMBED_FIELDS)
        columns, width = block[EMBED_COLUMNS], block[EMBED_WIDTH]
        member = (thread + number) % threads
        first, last = columns * member // threads, columns * (member + 1) // threads
        if first < last:
            if layers[0, SCALE_BACK]:
                start = block[EMBED_START]
                bounds = (start + first * width, start + last * width)
                call_kernel(layers[0, SCALE_BACK], (inputs, buffer, parameters, rows, *bounds))
            if block[EMBED_BACK]:
                own = (block, inputs, buffer, parameters, rows, first, last, scratch)
                call_kernel(block[EMBED_BACK], own)
