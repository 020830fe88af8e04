"""The benchmark of layers: its sweep is of distinct layers, other libraries are held to bounds."""

import pytest

pytest.importorskip("dilconv")
import bench.other_libraries  # noqa: F401  adds contenders
from bench.sweep import ATACWORKS, MOST_FLOPS, affordable, sweep_layers
from denoiseq.doctor import layer as doctor_layer
from dilconv.contenders import CONTENDERS, Layer, Tensors
from dilconv.verification import Oracle

LAYERS = [
    Layer("long", N=2, C=3, K=5, S=51, d=8, W=700),
    Layer("even", N=1, C=4, K=2, S=2, d=1, W=333),
    Layer("wide steps", N=3, C=1, K=6, S=3, d=512, W=200),
    Layer("point", N=1, C=6, K=1, S=1, d=4, W=101),
    Layer("parts", N=1, C=1, K=1, S=5000, d=1, W=3000),
]


@pytest.mark.parametrize("name", ["jax", "onnxruntime"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_library_is_within_its_bound(layer, name):
    if name not in CONTENDERS:
        pytest.skip(f"{name} is not installed")
    oracle = Oracle.of(Tensors.of(layer))
    oracle.check(name, CONTENDERS[name](oracle.tensors))


def test_sweep_points_are_distinct_and_affordable():
    layers = sweep_layers()
    assert len({layer.name for layer in layers}) == len(layers) > 40
    assert len({tuple(vars(layer).values())[1:] for layer in layers}) == len(layers)
    smaller = [affordable(layer) for layer in layers]
    assert all(s is not None and s.flops("forward") <= MOST_FLOPS for s in smaller)
    assert affordable(Layer("huge", 9, 1024, 1024, 101, 1, 60_000)) is None
    assert affordable(Layer("batch", 9, 15, 15, 51, 8, 600_000)).N == 3


def test_the_layer_of_doctor_is_the_one_of_the_benchmark():
    assert Layer(*doctor_layer.LAYER) == ATACWORKS
