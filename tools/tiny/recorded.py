"""A training step as one CUDA graph. A tiny model's step is a thousand small kernels: started one by one they keep a
processor busy and the GPU idle; recorded once, they are started together."""

from collections.abc import Callable

import torch
from torch import Tensor

#: runs before the recording: libraries choose their kernels, compilers compile, the optimizer makes its moments
_BEFORE = 3


def recorded(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`step`, whose gradients begin anew each time, as something to be played; every play returns the same tensor.

    Random numbers differ from play to play. Raises RuntimeError where a step does what cannot be recorded.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_BEFORE):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()

    def play() -> Tensor:
        graph.replay()
        return loss

    return play
