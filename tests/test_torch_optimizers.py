"""Steps of PyTorch's optimizers are ours, where PyTorch is installed."""

from dataclasses import replace

import numpy as np
import pytest
from engine_checks import make_problem, make_task
from numpy.testing import assert_allclose

from skmlp.engines.base import EpochPlan
from skmlp.engines.cpu import CpuEngine
from skmlp.engines.reference import ReferenceEngine
from skmlp.network.parameters import layout_of
from skmlp.network.specs import plain_network

torch = pytest.importorskip("torch", reason="needs PyTorch")

NETWORK = plain_network((6, 9, 5, 3), "tanh", "log_loss", "softmax")
RATE = 0.02
# Of Adam, whose epsilon stands elsewhere in PyTorch: so small that this does not show.
SMALL = 1e-30
CASES = [
    ("nadam", "NAdam", {}, {}),
    (
        "nadam",
        "NAdam",
        {"momentum_decay": 0.3, "epsilon": 0.01},
        {"momentum_decay": 0.3, "eps": 0.01},
    ),
    ("amsgrad", "Adam", {}, {"amsgrad": True}),
    (
        "amsgrad",
        "Adam",
        {"beta_2": 0.5, "epsilon": 0.1},
        {"amsgrad": True, "betas": (0.9, 0.5), "eps": 0.1},
    ),
    ("adamax", "Adamax", {}, {}),
    ("adamax", "Adamax", {"beta_2": 0.5, "epsilon": 0.1}, {"betas": (0.9, 0.5), "eps": 0.1}),
    ("rmsprop", "RMSprop", {}, {}),
    ("rmsprop", "RMSprop", {"rho": 0.7, "momentum": 0.5}, {"alpha": 0.7, "momentum": 0.5}),
    (
        "rmsprop",
        "RMSprop",
        {"rho": 0.7, "centered": True, "epsilon": 0.01},
        {"alpha": 0.7, "centered": True, "eps": 0.01},
    ),
    ("adagrad", "Adagrad", {}, {}),
    ("adagrad", "Adagrad", {"initial": 0.1}, {"initial_accumulator_value": 0.1, "eps": 1e-10}),
    ("adadelta", "Adadelta", {}, {}),
    ("adadelta", "Adadelta", {"rho": 0.5, "epsilon": 0.1}, {"rho": 0.5, "eps": 0.1}),
    ("adam", "Adam", {"epsilon": SMALL}, {"eps": SMALL}),
    ("muon", "Muon", {"match_rms": False, "epsilon": SMALL}, {}),
    ("muon", "Muon", {"epsilon": SMALL}, {"adjust_lr_fn": "match_rms_adamw"}),
    (
        "muon",
        "Muon",
        {"momentum": 0.5, "nesterovs_momentum": False, "iterations": 3, "epsilon": SMALL},
        {"momentum": 0.5, "nesterov": False, "ns_steps": 3, "adjust_lr_fn": "match_rms_adamw"},
    ),
]


@pytest.fixture
def no_rounding(monkeypatch):
    """Let Muon compute in double precision instead of bfloat16, and NAdam carry its product so."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(("solver", "theirs", "settings", "options"), CASES, ids=str)
@pytest.mark.usefixtures("no_rounding")
def test_steps_are_those_of_pytorch(solver, theirs, settings, options):
    engine, judge = CpuEngine(1), ReferenceEngine()
    problem = make_problem(NETWORK, 17)
    task = make_task(engine, NETWORK, problem, solver=solver, batch_size=17)
    values = [
        settings.get(setting.name, setting.default) for setting in task.optimizer.entry.settings
    ]
    optimizer = replace(task.optimizer, settings=tuple(map(float, values)))
    run = engine.start([replace(task, optimizer=optimizer)])

    layout, data = layout_of(NETWORK), judge.load(*problem, NETWORK)
    flat = task.parameters.copy()
    # PyTorch's weights are transposed; both share their memory with the flat vector.
    coefs, intercepts = layout.views(flat)
    tensors = [torch.from_numpy(coef.T) for coef in coefs]
    tensors += [torch.from_numpy(intercept) for intercept in intercepts]
    taken = optimizer.entry.taken_matrices(optimizer.settings, len(coefs))
    others = [tensor for i, tensor in enumerate(tensors) if i not in taken]
    optimizers = (
        [getattr(torch.optim, theirs)(tensors, lr=RATE, **options)]
        if not taken
        else [
            torch.optim.Muon([tensors[i] for i in taken], lr=RATE, weight_decay=0.0, **options),
            torch.optim.Adam(others, lr=RATE, eps=SMALL),
        ]
    )
    for _ in range(6):
        run.advance([EpochPlan(np.arange(17)[None], RATE)])
        _, gradient = judge.loss_and_gradient(NETWORK, data, flat, task.alpha)
        by_coefs, by_intercepts = layout.views(gradient)
        gradients = [*(g.T for g in by_coefs), *by_intercepts]
        for tensor, own in zip(tensors, gradients, strict=True):
            tensor.grad = torch.from_numpy(np.ascontiguousarray(own))
        for each in optimizers:
            each.step()
        assert_allclose(run.parameters(0), flat, rtol=1e-9, atol=1e-11)
