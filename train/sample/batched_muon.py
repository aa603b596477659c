"""Muon (Keller Jordan, 2024) with equal shapes orthogonalised together: twice as quick here as one by one."""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def quick_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware; elsewhere it is slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def orthogonalised(matrices: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices, roughly: (n, rows, columns), rows ≤ columns; in bf16 where that is quick."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16() if quick_bf16() else matrices.float()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # (n, rows, rows)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class BatchedMuon(torch.optim.Optimizer):
    """For two-dimensional parameters only. The update has the size that AdamW's would have, so rates carry over."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update from the parameters' gradients."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for p in (p for p in group["params"] if p.grad is not None):
                by_shape[tuple(p.shape)].append(p)
            for (rows, columns), params in by_shape.items():
                gradients = [p.grad for p in params]
                for p in params:
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                buffers = [self.state[p]["momentum_buffer"] for p in params]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                moved = torch.stack(torch._foreach_lerp(gradients, buffers, group["momentum"]))  # (n, rows, columns)
                flat = orthogonalised(moved if rows <= columns else moved.mT)
                update = (flat if rows <= columns else flat.mT).float().unbind(0)
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(params, update, alpha=-group["lr"] * 0.2 * math.sqrt(max(rows, columns)))
