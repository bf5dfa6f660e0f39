"""Draw every activation function and its derivative, as `skmlp.activations.evaluate` computes them.

Needs Matplotlib. ``python examples/plot_activations.py activations.png`` writes a picture, in the
format of the file's name.
"""

import sys

import numpy as np

from skmlp.activations import ELU, Logistic, Softplus, evaluate

NAMES = (
    *("identity", "relu", "leaky_relu", "prelu", "relu6", "elu", "celu", "selu"),
    *("softplus", "gelu", "silu", "mish", "hard_swish", "exponential", "log_sigmoid", "sinc"),
    *("logistic", "hard_sigmoid", "tanh", "hard_tanh", "softsign", "step"),
    *(ELU(alpha=2), Softplus(beta=3), Logistic(slope=4, threshold=1)),
)


def draw(names, columns=5):
    """Return a figure with a panel for each activation; the derivative is dashed."""
    from matplotlib.figure import Figure

    z = np.linspace(-4, 4, 801)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.1 * rows), layout="constrained")
    for axes, name in zip(figure.subplots(rows, columns).flat, names, strict=False):
        value, derivative = evaluate(name, z)
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.axvline(0, color="0.8", linewidth=0.8)
        axes.plot(z, value, label="value")
        axes.plot(z, derivative, "--", label="derivative")
        axes.set_title(str(name), fontsize=9)
        axes.set_ylim(-2.2, 4.2)
    for axes in figure.axes[len(names) :]:
        axes.set_axis_off()
    figure.axes[0].legend(fontsize=7)
    return figure


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "activations.png"
    try:
        draw(NAMES).savefig(path)
    except ImportError:
        print("This example needs Matplotlib: pip install matplotlib")
    else:
        print(f"{len(NAMES)} activations are drawn in {path}.")


if __name__ == "__main__":
    main()
