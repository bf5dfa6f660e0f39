"""
Activation functions
====================

Every activation function and its derivative, as `skmlp.activations.evaluate` computes them.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmlp.activations import ELU, Logistic, Softplus, evaluate

# %%
# A name stands for most of them, an object for those with numbers to choose.
NAMES = (
    *("identity", "relu", "leaky_relu", "prelu", "relu6", "elu", "celu", "selu"),
    *("softplus", "gelu", "silu", "mish", "hard_swish", "exponential", "log_sigmoid", "sinc"),
    *("logistic", "hard_sigmoid", "tanh", "hard_tanh", "softsign", "step"),
    *(ELU(alpha=2), Softplus(beta=3), Logistic(slope=4, threshold=1)),
)

# %%
# Networks learn through derivatives, which are dashed here: where one is zero, a unit does not
# learn. That of the step is a surrogate.
z = np.linspace(-4, 4, 801)
figure, panels = plt.subplots(5, 5, figsize=(12, 10.5), layout="constrained")
for axes, name in zip(panels.flat, NAMES, strict=True):
    value, derivative = evaluate(name, z)
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.axvline(0, color="0.8", linewidth=0.8)
    axes.plot(z, value, label="value")
    axes.plot(z, derivative, "--", label="derivative")
    axes.set_title(str(name), fontsize=9)
    axes.set_ylim(-2.2, 4.2)
panels[0, 0].legend(fontsize=7)
plt.show()
