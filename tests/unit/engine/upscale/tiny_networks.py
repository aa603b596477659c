"""Writes small random networks as ncnn's converter writes Real-ESRGAN's: a .param and a .bin file."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FLAG_HALF, FLAG_SINGLE = 0x01306B47, 0
LEAKY = "9=2 -23310=1,2.000000e-01"
RESIDUAL = "0=1 -23301=2,2.000000e-01,1.000000e+00"


@dataclass
class _Graph:
    """Layers in order, each with its inputs, its output and its options."""

    half: bool
    random: np.random.Generator
    layers: list[tuple[str, list[str], str, str]] = field(default_factory=list)
    numbers: bytes = b""

    def add(self, kind: str, inputs: list[str], options: str = "") -> str:
        output = "data" if kind == "Input" else f"blob{len(self.layers)}"
        self.layers.append((kind, inputs, output, options))
        return output

    def convolve(self, source: str, inputs: int, outputs: int, *, leaky: bool = False, bias: float = 0.0) -> str:
        weights = self.random.normal(0, 1.2 / np.sqrt(9 * inputs), (outputs, inputs, 3, 3))
        packed = weights.astype("<f2" if self.half else "<f4").tobytes()
        self.numbers += (FLAG_HALF if self.half else FLAG_SINGLE).to_bytes(4, "little")
        self.numbers += packed + b"\0" * (-len(packed) % 4)
        self.numbers += (bias + self.random.normal(0, 0.02, outputs)).astype("<f4").tobytes()
        options = f"0={outputs} 1=3 4=1 5=1 6={9 * inputs * outputs}"
        return self.add("Convolution", [source], f"{options} {LEAKY}" if leaky else options)

    def slopes(self, source: str, count: int) -> str:
        self.numbers += self.random.uniform(0.1, 0.4, count).astype("<f4").tobytes()
        return self.add("PReLU", [source], f"0={count}")

    def write(self, param: Path) -> Path:
        """The last output is called `output`; what is used more than once is split, as ncnn wants it."""
        kind, inputs, _, options = self.layers.pop()
        self.layers.append((kind, inputs, "output", options))
        uses = Counter(name for _, inputs, _, _ in self.layers for name in inputs)
        left = {name: [f"{name}_split{i}" for i in range(count)] for name, count in uses.items() if count > 1}
        lines: list[str] = []
        for kind, inputs, output, options in self.layers:
            sources = [left[name].pop() if name in left else name for name in inputs]
            lines.append(f"{kind} layer{len(lines)} {len(inputs)} 1 {' '.join([*sources, output])} {options}")
            if output in left:
                copies = left[output]
                lines.append(f"Split layer{len(lines)} 1 {len(copies)} {output} {' '.join(copies)}")
        blobs = sum(int(line.split()[3]) for line in lines)
        param.write_text("\n".join(["7767517", f"{len(lines)} {blobs}", *lines, ""]), encoding="ascii")
        param.with_suffix(".bin").write_bytes(self.numbers)
        return param


def write_compact(param: Path, *, features: int = 6, depth: int = 2, half: bool = True) -> Path:
    """`SRVGGNetCompact`. Returns param."""
    graph = _Graph(half, np.random.default_rng(1))
    data = graph.add("Input", [])
    made = graph.slopes(graph.convolve(data, 3, features), features)
    for _ in range(depth):
        made = graph.slopes(graph.convolve(made, features, features), features)
    shuffled = graph.add("PixelShuffle", [graph.convolve(made, features, 48)], "0=4")
    base = graph.add("Interp", [data], "0=1 1=4.000000e+00 2=4.000000e+00")
    graph.add("BinaryOp", [shuffled, base])
    return graph.write(param)


def write_rrdb(param: Path, *, features: int = 8, growth: int = 5, blocks: int = 2, half: bool = True) -> Path:
    """`RRDBNet`. Returns param."""
    graph = _Graph(half, np.random.default_rng(2))
    first = made = graph.convolve(graph.add("Input", []), 3, features)
    for _ in range(blocks):
        block = made
        for _ in range(3):
            dense = [made]
            seen = made
            for index in range(4):
                dense.append(graph.convolve(seen, features + index * growth, growth, leaky=True))
                seen = graph.add("Concat", list(dense))
            made = graph.add("Eltwise", [graph.convolve(seen, features + 4 * growth, features), made], RESIDUAL)
        made = graph.add("Eltwise", [made, block], RESIDUAL)
    made = graph.add("BinaryOp", [first, graph.convolve(made, features, features)])
    for _ in range(2):
        larger = graph.add("Interp", [made], "0=1 1=2.000000e+00 2=2.000000e+00")
        made = graph.convolve(larger, features, features, leaky=True)
    made = graph.convolve(made, features, features, leaky=True)
    graph.convolve(made, features, 3, bias=0.5)
    return graph.write(param)
