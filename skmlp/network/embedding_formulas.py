"""Formulas of the embeddings: how one column of X becomes several numbers, and the way back.

They take some rows of one column, in vectors that are indexed from zero, and write their loops out,
so that an engine can compile them in either precision: constants are floats (``1.0``, not ``1``),
and elementary functions are called by the bare names ``sin`` and ``cos``. All are called alike:

``value(x, rows, numbers, given, out, ld, room, *constants)`` writes the numbers of row `i` to
``out[i * ld]`` and those behind it. `numbers` are those that the column has learned, `given` those
that the data have given to it, and `room` is scratch memory.

``gradient(x, rows, numbers, given, out, delta, ld, sums, room, *constants)`` adds to `sums` the
derivative by `numbers`, where `delta` is that by `out`.

Loops over rows are the inner ones where they can be vectorized.
"""

from numpy import cos, pi, sin

TURN = float(2.0 * pi)


def copied(x, rows, numbers, given, out, ld, room):
    for i in range(rows):
        out[i * ld] = x[i]


def learns_nothing(x, rows, numbers, given, out, delta, ld, sums, room):
    return


# Waves. Numbers are the weights of the units, their phases if there are any, and then the map from
# waves to outputs, each of which is in `room` for all rows.


def periodic(x, rows, numbers, given, out, ld, room, units, width, deviation):
    """``relu(V [sin(2 pi w x), cos(2 pi w x)] + c)``."""
    n_units, n_outputs = int(units), int(width)
    shifts = n_units + 2 * n_units * n_outputs
    for o in range(n_outputs):
        shift = numbers[shifts + o]
        for i in range(rows):
            room[(2 + o) * rows + i] = shift
    for k in range(n_units):
        weight = numbers[k]
        for i in range(rows):
            angle = TURN * (weight * x[i])
            room[i] = sin(angle)
            room[rows + i] = cos(angle)
        for o in range(n_outputs):
            place = n_units + 2 * n_units * o + k
            by_sine, by_cosine = numbers[place], numbers[place + n_units]
            for i in range(rows):
                room[(2 + o) * rows + i] += by_sine * room[i] + by_cosine * room[rows + i]
    for o in range(n_outputs):
        for i in range(rows):
            z = room[(2 + o) * rows + i]
            out[i * ld + o] = 0.0 if z < 0.0 else z


def periodic_gradient(x, rows, numbers, given, out, delta, ld, sums, room, units, width, deviation):
    n_units, n_outputs = int(units), int(width)
    shifts = n_units + 2 * n_units * n_outputs
    for o in range(n_outputs):
        for i in range(rows):
            room[(3 + o) * rows + i] = delta[i * ld + o] if out[i * ld + o] > 0.0 else 0.0
        total = 0.0
        for i in range(rows):
            total += room[(3 + o) * rows + i]
        sums[shifts + o] += total
    for k in range(n_units):
        weight = numbers[k]
        for i in range(rows):
            angle = TURN * (weight * x[i])
            room[i] = sin(angle)
            room[rows + i] = cos(angle)
            room[2 * rows + i] = 0.0
        for o in range(n_outputs):
            place = n_units + 2 * n_units * o + k
            by_sine, by_cosine = numbers[place], numbers[place + n_units]
            of_sine, of_cosine = 0.0, 0.0
            for i in range(rows):
                own = room[(3 + o) * rows + i]
                of_sine += own * room[i]
                of_cosine += own * room[rows + i]
                by_angle = by_sine * room[rows + i] - by_cosine * room[i]
                room[2 * rows + i] += own * by_angle
            sums[place] += of_sine
            sums[place + n_units] += of_cosine
        of_weight = 0.0
        for i in range(rows):
            of_weight += room[2 * rows + i] * x[i]
        sums[k] += TURN * of_weight


def pbld(x, rows, numbers, given, out, ld, room, units, width, deviation):
    """``[x, V cos(2 pi (w x + b)) + c]``."""
    n_units, n_outputs = int(units), int(width)
    shifts = 2 * n_units + n_units * n_outputs
    for o in range(n_outputs):
        shift = numbers[shifts + o]
        for i in range(rows):
            room[(1 + o) * rows + i] = shift
    for k in range(n_units):
        weight, phase = numbers[k], numbers[n_units + k]
        for i in range(rows):
            room[i] = cos(TURN * (weight * x[i] + phase))
        for o in range(n_outputs):
            factor = numbers[2 * n_units + n_units * o + k]
            for i in range(rows):
                room[(1 + o) * rows + i] += factor * room[i]
    for i in range(rows):
        out[i * ld] = x[i]
    for o in range(n_outputs):
        for i in range(rows):
            out[i * ld + 1 + o] = room[(1 + o) * rows + i]


def pbld_gradient(x, rows, numbers, given, out, delta, ld, sums, room, units, width, deviation):
    n_units, n_outputs = int(units), int(width)
    shifts = 2 * n_units + n_units * n_outputs
    for o in range(n_outputs):
        for i in range(rows):
            room[(3 + o) * rows + i] = delta[i * ld + 1 + o]
        total = 0.0
        for i in range(rows):
            total += room[(3 + o) * rows + i]
        sums[shifts + o] += total
    for k in range(n_units):
        weight, phase = numbers[k], numbers[n_units + k]
        for i in range(rows):
            angle = TURN * (weight * x[i] + phase)
            room[i] = cos(angle)
            room[rows + i] = sin(angle)
            room[2 * rows + i] = 0.0
        for o in range(n_outputs):
            place = 2 * n_units + n_units * o + k
            factor, of_factor = numbers[place], 0.0
            for i in range(rows):
                own = room[(3 + o) * rows + i]
                of_factor += own * room[i]
                room[2 * rows + i] += factor * own
            sums[place] += of_factor
        of_weight, of_phase = 0.0, 0.0
        for i in range(rows):
            slope = room[2 * rows + i] * room[rows + i]
            of_weight += slope * x[i]
            of_phase += slope
        sums[k] -= TURN * of_weight
        sums[n_units + k] -= TURN * of_phase


def cosine(x, rows, numbers, given, out, ld, room, width, deviation):
    """``[x, a * cos(2 pi (w x + b)) + c]``."""
    n_units = int(width)
    for i in range(rows):
        out[i * ld] = x[i]
    for k in range(n_units):
        weight, phase = numbers[k], numbers[n_units + k]
        scale, shift = numbers[2 * n_units + k], numbers[3 * n_units + k]
        for i in range(rows):
            room[i] = scale * cos(TURN * (weight * x[i] + phase)) + shift
        for i in range(rows):
            out[i * ld + 1 + k] = room[i]


def cosine_gradient(x, rows, numbers, given, out, delta, ld, sums, room, width, deviation):
    n_units = int(width)
    for k in range(n_units):
        weight, phase = numbers[k], numbers[n_units + k]
        for i in range(rows):
            room[2 * rows + i] = delta[i * ld + 1 + k]
        for i in range(rows):
            angle = TURN * (weight * x[i] + phase)
            room[i] = cos(angle)
            room[rows + i] = sin(angle)
        of_scale, of_shift, of_weight, of_phase = 0.0, 0.0, 0.0, 0.0
        for i in range(rows):
            own = room[2 * rows + i]
            slope = own * room[rows + i]
            of_scale += own * room[i]
            of_shift += own
            of_weight += slope * x[i]
            of_phase += slope
        scale = numbers[2 * n_units + k]
        sums[k] -= TURN * (scale * of_weight)
        sums[n_units + k] -= TURN * (scale * of_phase)
        sums[2 * n_units + k] += of_scale
        sums[3 * n_units + k] += of_shift


# Pieces of lines. Given are where each bin begins, and then which part of it a unit of x is.


def number_bins(x, rows, given, room, n_bins):
    """Write to `room` in which bin each row is, from zero; one below all is in the first."""
    for i in range(rows):
        room[i] = 0.0
    for t in range(1, n_bins):
        edge = given[t]
        for i in range(rows):
            room[i] += 1.0 if x[i] >= edge else 0.0


def piecewise(x, rows, numbers, given, out, ld, room, bins, width):
    """``w x + b + V z``, where `z` is one in bins below x, zero above, and a fraction in its own.

    In the first bin the fraction may be below zero, in the last one above one.
    """
    n_bins, n_outputs = int(bins), int(width)
    steps = 2 * n_outputs
    # What there is where each bin begins.
    for o in range(n_outputs):
        total = numbers[n_outputs + o]
        for t in range(n_bins):
            room[rows + n_outputs * t + o] = total
            total += numbers[steps + n_outputs * t + o]
    number_bins(x, rows, given, room, n_bins)
    for i in range(rows):
        t = int(room[i])
        number = x[i]
        fraction = (number - given[t]) * given[n_bins + t]
        start, step = rows + n_outputs * t, steps + n_outputs * t
        for o in range(n_outputs):
            straight = room[start + o] + numbers[o] * number
            out[i * ld + o] = straight + fraction * numbers[step + o]


def piecewise_gradient(x, rows, numbers, given, out, delta, ld, sums, room, bins, width):
    n_bins, n_outputs = int(bins), int(width)
    steps = 2 * n_outputs
    for k in range(n_bins * n_outputs):
        room[rows + k] = 0.0
    number_bins(x, rows, given, room, n_bins)
    for i in range(rows):
        t = int(room[i])
        number = x[i]
        fraction = (number - given[t]) * given[n_bins + t]
        start, step = rows + n_outputs * t, steps + n_outputs * t
        for o in range(n_outputs):
            own = delta[i * ld + o]
            sums[o] += own * number
            sums[step + o] += own * fraction
            room[start + o] += own
    # What one bin adds, all above it have.
    for o in range(n_outputs):
        total = 0.0
        for k in range(n_bins):
            t = n_bins - 1 - k
            sums[steps + n_outputs * t + o] += total
            total += room[rows + n_outputs * t + o]
        sums[n_outputs + o] += total


# Tables


def level_of(code, levels):
    """Return a code as a row of the table; zero stands for whatever is none."""
    level = int(code) if code >= 0.0 and code < levels else 0
    return level if level == code else 0


def categories(x, rows, numbers, given, out, ld, room, levels, width):
    """Row number x of a table."""
    n_outputs = int(width)
    for i in range(rows):
        start = n_outputs * level_of(x[i], levels)
        for o in range(n_outputs):
            out[i * ld + o] = numbers[start + o]


def categories_gradient(x, rows, numbers, given, out, delta, ld, sums, room, levels, width):
    n_outputs = int(width)
    for i in range(rows):
        start = n_outputs * level_of(x[i], levels)
        for o in range(n_outputs):
            sums[start + o] += delta[i * ld + o]
