"""Examples in latents on the device, the oldest of which are drawn anew, in place: a recorded step reads them there."""

from typing import Any

import torch
from torch import Tensor

from tools.tiny import whole
from tools.tiny.noise import precision
from tools.tiny.sizes import SIDES


class Ring:
    """Rows of them; whoever extends it holds the tensors and fills `piece` rows of each at a time with `_put`.

    count   rows that were drawn so far; filled: how many hold one by now, where a recorded step reads it
    """

    def __init__(self, vae_kind: str, device: Any, *, size: int, piece: int) -> None:
        self.device, self._size, self._piece, self._side = device, size, piece, SIDES[vae_kind]
        self._vae: Any = None
        self.count = 0
        self.filled = torch.ones(1, dtype=torch.long, device=device)

    def serve(self, vae: Any) -> None:
        """Begin to fill it with the latents of this VAE."""
        self._vae = vae.to(self.device).eval().requires_grad_(False)
        self._scaling = whole.scaling(vae, self.device)

    def _put(self, *rows: tuple[Tensor, Tensor]) -> None:
        """What holds them, and fresh ones in place of the oldest."""
        at = (torch.arange(self._piece, device=self.device) + self.count) % self._size
        for held, fresh in rows:
            held.index_copy_(0, at, fresh.to(held.dtype))
        self.count += self._piece
        self.filled.fill_(min(self.count, self._size))

    def _encoded(self, clips: Tensor) -> Tensor:
        """Their latents as a transformer sees them."""
        mean, std = self._scaling
        with precision(self.device):
            latents = whole.encode(self._vae, clips)[0]
        return (latents.float() - mean) / std
