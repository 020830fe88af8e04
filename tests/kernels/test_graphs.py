"""Graphs of models with dilconv's layers: torch.fx, torch.export, make_fx; what needs a revert."""

import copy
import pickle
import subprocess
import sys

import dilconv
import pytest
import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.shape_prop import ShapeProp


class Branches(nn.Module):
    """Layers, a fused residual and a call of the function."""

    def __init__(self):
        super().__init__()
        self.first = dilconv.Conv1d(4, 6, 9, padding="same", activation="relu")
        self.second = dilconv.Conv1d(6, 6, 3, padding=4, dilation=4, activation=nn.ReLU())
        self.strided = dilconv.Conv1d(6, 2, 3, stride=2)

    def forward(self, x):
        h = self.first(x)
        h = self.second(h, residual=h)
        return self.strided(dilconv.conv1d(h, self.second.weight, padding=(1, 1)))


def converted():
    return dilconv.convert(nn.Sequential(nn.Conv1d(4, 6, 9, padding=4), nn.ReLU())), 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [converted, lambda: (Branches(), 3)])
def test_fx_has_a_node_for_each_convolution(make):
    model, calls = make()
    traced = fx.symbolic_trace(model)
    targets = [node.target for node in traced.graph.nodes]
    assert targets.count(dilconv.conv1d) == calls
    x = torch.randn(2, 4, 50)
    for graph in (traced, fx.symbolic_trace(traced), pickle.loads(pickle.dumps(traced))):
        assert torch.equal(graph(x), model(x))
    ShapeProp(traced).propagate(x)
    assert [n.meta["tensor_meta"].shape for n in traced.graph.nodes][-1] == model(x).shape


class Custom(fx.Tracer):
    """A tracer that takes the layer for one node, as torch's tracer takes those of torch.nn."""

    def is_leaf_module(self, module, name):
        return isinstance(module, dilconv.Conv1d) or super().is_leaf_module(module, name)


def test_fx_takes_the_layer_as_a_leaf_too():
    model, _ = converted()
    graph = Custom().trace(model)
    assert [node.op for node in graph.nodes].count("call_module") == 2


def test_export_keeps_the_operator_and_any_size():
    model = Branches()
    sizes = {0: torch.export.Dim("N"), 2: torch.export.Dim("W", min=16)}
    for strict in (False, True):
        program = torch.export.export(
            model, (torch.randn(2, 4, 50),), dynamic_shapes=({**sizes},), strict=strict
        )
        targets = [str(node.target) for node in program.graph.nodes]
        assert targets.count("dilconv.forward.default") == 3
        x = torch.randn(5, 4, 33)
        for each in (program, program.run_decompositions()):
            torch.testing.assert_close(each.module()(x), model(x))


def test_a_saved_program_loads_where_dilconv_was_imported(tmp_path):
    model, _ = converted()
    torch.export.save(torch.export.export(model, (torch.randn(2, 4, 50),)), tmp_path / "a.pt2")
    for modules, works in (("torch", False), ("torch, dilconv", True)):
        code = f"import {modules}; torch.export.load({str(tmp_path / 'a.pt2')!r})"
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True)
        assert (done.returncode == 0) == works


def test_make_fx_sees_the_operators_of_a_gradient():
    model, _ = converted()

    def gradient(x):
        return torch.func.grad(lambda x: model(x).square().sum())(x)

    x = torch.randn(2, 4, 50)
    graph = make_fx(gradient)(x)
    assert {"dilconv.forward.default", "dilconv.backward.default"} <= {
        str(node.target) for node in graph.graph.nodes
    }
    torch.testing.assert_close(graph(x), gradient(x))


@pytest.mark.parametrize("name", ["grad", "per-sample", "jvp", "hessian"])
def test_transforms_compile_in_one_graph(name):
    model = dilconv.convert(nn.Sequential(nn.Conv1d(2, 3, 5, padding=2), nn.Tanh()))

    def loss(x):
        return model(x).square().sum()

    transformed = {
        "grad": torch.func.grad(loss),
        "per-sample": torch.func.vmap(torch.func.grad(loss)),
        "jvp": lambda x: torch.func.jvp(loss, (x,), (x.cos(),))[1],
        "hessian": torch.func.hessian(loss),
    }[name]
    x = torch.randn(2, 2, 12)
    torch.compiler.reset()
    found = torch.compile(transformed, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(found, transformed(x))


def test_a_layer_that_runs_in_torch_compiles_in_one_graph():
    layer, x = dilconv.Conv1d(4, 6, 3, stride=2, activation="relu"), torch.randn(2, 4, 50)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), layer(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "export",
    [torch.jit.script, lambda m: torch.onnx.export(m, (torch.randn(2, 4, 50),), dynamo=False)],
    ids=["jit.script", "onnx"],
)
def test_exporters_without_the_operator_say_revert_first(export):
    model, _ = converted()
    for each in (model, model[0]):
        with pytest.raises(RuntimeError, match=r"dilconv\.revert\(model\)"):
            export(copy.deepcopy(each))


@pytest.mark.filterwarnings("ignore")
def test_the_newer_onnx_exporter_says_so_too():
    pytest.importorskip("onnxscript")
    model, _ = converted()
    with pytest.raises(RuntimeError, match=r"dilconv\.revert\(model\)"):
        torch.onnx.export(model, (torch.randn(2, 4, 50),), dynamo=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_reverted_model_is_scripted():
    model, _ = converted()
    x = torch.randn(2, 4, 50)
    expected = model(x)
    torch.testing.assert_close(torch.jit.script(dilconv.revert(model))(x), expected)


def test_a_graph_may_be_differentiated_by_forward_mode():
    model, _ = converted()
    x = torch.randn(2, 4, 50)
    traced = fx.symbolic_trace(model)
    ours, theirs = (torch.func.jvp(m, (x,), (x.cos(),))[1] for m in (traced, model))
    assert torch.equal(ours, theirs) and ours.norm() > 0
