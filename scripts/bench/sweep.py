"""The layers of the benchmark's sweep: one letter at a time around AtacWorks, named corners."""

from dataclasses import replace

from dilconv.contenders import Layer

ATACWORKS = Layer("AtacWorks", N=1, C=15, K=15, S=51, d=8, W=60_000)
MOST_FLOPS = 50e9  # a pass

LETTERS = {
    "N": (2, 8),
    "W": (1_000, 3_000, 10_000, 30_000, 60_000, 100_000, 300_000, 1_000_000),
    "S": (1, 3, 5, 9, 15, 25, 51, 101, 251),
    "C=K": (1, 4, 15, 16, 32, 64, 128),
    "d": (1, 2, 4, 7, 8, 16),
}


CORNERS = (
    replace(ATACWORKS, name="AtacWorks 1->15", C=1),
    replace(ATACWORKS, name="AtacWorks 15->1", K=1),
    replace(ATACWORKS, name="1x1 15->15", S=1, d=1),
    replace(ATACWORKS, name="1x1 15->1", K=1, S=1, d=1),
    Layer("BPNet first", N=8, C=4, K=64, S=21, d=1, W=2114),
    *(Layer(f"BPNet d={2**i}", N=8, C=64, K=64, S=3, d=2**i, W=2114) for i in range(1, 10)),
    *(Layer(f"WaveNet d={d}", N=1, C=64, K=64, S=2, d=d, W=16_000) for d in (1, 16, 512)),
    Layer("8401 taps", N=1, C=1, K=1, S=8_401, d=1, W=60_000),
    Layer("10000 taps", N=1, C=1, K=1, S=10_000, d=1, W=60_000),
)


def sweep_layers() -> list[Layer]:
    """Every point once, AtacWorks' layer first; some may be above MOST_FLOPS."""
    steps = {
        f"{letters}={value}": dict.fromkeys(letters.split("="), value)
        for letters, values in LETTERS.items()
        for value in values
    }
    differing = {n: step for n, step in steps.items() if replace(ATACWORKS, **step) != ATACWORKS}
    letters = (replace(ATACWORKS, name=name, **step) for name, step in differing.items())
    return [ATACWORKS, *letters, *CORNERS]


def affordable(layer: Layer) -> Layer | None:
    """The layer with a smaller N, then W, to stay below MOST_FLOPS; None below a tenth of a row."""
    row = replace(layer, N=1).flops("forward")
    if row <= MOST_FLOPS:
        return replace(layer, N=min(layer.N, int(MOST_FLOPS // row)))
    share = MOST_FLOPS / row
    return replace(layer, N=1, W=int(share * layer.W)) if share >= 0.1 else None
