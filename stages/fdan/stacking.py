"""Networks of one shape called as one, and a step of training as one launch on a GPU.

A replica's step is some 300 small kernels, which leave a GPU idle. Two things fill it: the
parameters of all replicas are stacked, so that a kernel works for all of them (`Stack`), and the
kernels of a step are recorded once as a CUDA graph and launched together (`capture`).
"""

import copy
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from stages.runtime.errors import one_line

WARM_UP = 3  # calls before a graph is captured, as PyTorch's notes on CUDA graphs ask

Function = Callable[..., tuple[Tensor, ...]]


class Stack:
    """R networks of one shape on one device.

    Attributes:
        state: the parameters by name, [R, ...] each; training changes them in place.
        parameters: the same memory, as an optimiser takes it.
    """

    def __init__(self, networks: Sequence[nn.Module], device: torch.device):
        self.size = len(networks)
        self.network = copy.deepcopy(networks[0]).to(device)
        states = [dict(network.named_parameters()) for network in networks]
        self.state = {}
        for name in states[0]:
            stacked = torch.stack([state[name].detach() for state in states])
            self.state[name] = _in_order_of_gradient(stacked).to(device)
        if self.size == 1:
            for name, parameter in self.network.named_parameters():
                parameter.data = self.state[name][0]
            self.parameters: list[Tensor] = list(self.network.parameters())
        else:
            self.parameters = [value.requires_grad_() for value in self.state.values()]

    def map(self, function: Function) -> Function:
        """`function(network, *tensors)` for all networks at once.

        The tensors given and returned then have a leading axis of networks. A single network is
        called as it is: on a CPU vmap costs as much as a fifth of a step.
        """
        if self.size == 1:
            return lambda *given: tuple(
                value[None] for value in function(self.network, *(tensor[0] for tensor in given))
            )
        module = _Call(self.network, function)

        def one(state: dict[str, Tensor], *given: Tensor) -> tuple[Tensor, ...]:
            named = {f"network.{name}": value for name, value in state.items()}
            return functional_call(module, named, given)

        return lambda *given: vmap(one)(self.state, *given)


class _Call(nn.Module):
    """A function of a network as a module, which `functional_call` asks for."""

    def __init__(self, network: nn.Module, function: Function):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        return self.function(self.network, *given)


def capture(
    step: Callable[[], None], device: torch.device, changed: Callable[[], Iterable[Tensor]]
) -> Callable[[], None]:
    """`step` itself on a CPU; on CUDA, from the fifth call on, the replay of a graph of it.

    The first calls warm up, the fourth records the graph and compares one replay with the step
    itself. Where it cannot be recorded or gives something else, one line says so and every step is
    made as it is.

    Args:
        step: must read and write the same memory in every call, and read nothing back to the host.
        changed: all tensors that a call changes, once it has been called.

    Raises:
        torch.OutOfMemoryError: the GPU has no memory left.
    """
    if device.type != "cuda":
        return step
    calls = _calls(step, changed)
    return lambda: next(calls)


def _calls(step: Callable[[], None], changed: Callable[[], Iterable[Tensor]]) -> Iterator[None]:
    side = _side_stream()
    for _ in range(WARM_UP):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)
        yield
    graph, problem = _record(step, side)
    if graph is not None:
        before = [tensor.clone() for tensor in changed()]
        graph.replay()
        replayed = [tensor.clone() for tensor in changed()]
        for tensor, value in zip(changed(), before):
            tensor.detach().copy_(value)
        step()
        if not all(map(_alike, replayed, changed())):
            graph, problem = None, "a replay of it gives other values"
    else:
        step()
    if graph is None:
        print(
            f"warning: a step cannot be made one CUDA graph ({problem}); the same results come "
            "several times slower",
            file=sys.stderr,
        )
    yield
    while True:
        step() if graph is None else graph.replay()
        yield


def _record(step: Callable[[], None], side: Any) -> tuple[Any, str]:
    """A graph of the step, or None and why not."""
    gc.collect()  # or what an earlier stack held might be freed while this one is recorded
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=side):
            step()  # is recorded, not done
    except RuntimeError as error:
        # What ends the recording raises an error of its own, which hides the first.
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            cause = cause.__context__
        torch.cuda.synchronize()
        return None, one_line(error)[:200]
    return graph, ""


@cache
def _side_stream() -> Any:
    """One for all graphs: memory that a stream has freed is kept for that stream."""
    return torch.cuda.Stream()


def _alike(one: Tensor, other: Tensor) -> bool:
    """Up to rounding; of what is counted (a class that ties may differ) nothing is said."""
    return not one.is_floating_point() or torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def _in_order_of_gradient(value: Tensor) -> Tensor:
    """The same values, matrices [R, out, in] laid out as vmap's products give their gradients.

    Autograd would otherwise copy each gradient into the layout of its parameter, in every step.
    """
    return value.mT.contiguous().mT if value.ndim == 3 and len(value) > 1 else value
