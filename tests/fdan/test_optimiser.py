"""SGD: the same bytes as torch.optim.SGD, in a process that has not loaded the compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.fdan.optimiser import SGD

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_steps_as_the_class_of_pytorch(momentum: float, weight_decay: float):
    def trained(make) -> list[bytes]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
        optimiser = make(network.parameters())
        for _ in range(10):
            optimiser.zero_grad()
            network(torch.randn(4, 5)).square().sum().backward()
            optimiser.step()
        return [parameter.detach().numpy().tobytes() for parameter in network.parameters()]

    ours = trained(lambda parameters: SGD(parameters, 0.05, momentum, weight_decay))
    theirs = trained(
        lambda parameters: torch.optim.SGD(
            parameters, 0.05, momentum, weight_decay=weight_decay, fused=True
        )
    )
    assert ours == theirs


def test_training_does_not_load_the_compiler():
    script = (
        "import sys, torch\n"
        "from stages.fdan.optimiser import SGD\n"
        "weight = torch.ones(3, requires_grad=True)\n"
        "optimiser = SGD([weight], 0.1, 0.9, 0.0)\n"
        "optimiser.zero_grad(); weight.sum().backward(); optimiser.step()\n"
        "assert torch.allclose(weight, torch.full((3,), 0.9))\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
