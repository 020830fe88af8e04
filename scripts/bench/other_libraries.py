"""Adds JAX and onnxruntime to `dilconv.contenders.CONTENDERS`, where they are installed."""

import os
from functools import cache
from importlib.util import find_spec
from unittest.mock import patch

import torch
from dilconv.contenders import CONTENDERS, Contender, Tensors


@cache
def _jax_client(threads: int) -> None:
    """Make JAX's CPU client with pools of so many threads; arrays of the last client die.

    XLA reads PJRT_NPROC where its client is made; it bounds the pools, not the calling thread.
    """
    import jax.extend.backend
    import jax.numpy

    _jax_client.cache_clear()  # only the newest client is alive
    jax.config.update("jax_platforms", "cpu")
    with patch.dict(os.environ, PJRT_NPROC=str(threads)):
        jax.clear_caches()
        jax.extend.backend.clear_backends()
        jax.numpy.zeros(1).block_until_ready()


def jax_contender(t: Tensors) -> Contender:
    """XLA's convolution and its vjp, each pass one compiled function, padded in the call."""
    if t.x.dtype != torch.float32:
        return Contender({})
    _jax_client(torch.get_num_threads())
    import jax

    def conv(x, w):
        letters, dilation = ("NCH", "OIH", "NCH"), (t.layer.d,)
        return jax.lax.conv_general_dilated(
            x, w, (1,), [t.layer.padding], rhs_dilation=dilation, dimension_numbers=letters
        )

    def everything(x, w, g):
        y, pull = jax.vjp(conv, x, w)
        return y, *pull(g)

    arrays = [jax.numpy.array(a.numpy()) for a in (t.x, t.w, t.g)]

    def runner(function):
        compiled = jax.jit(function)  # what a pass does not return, XLA does not compute
        return lambda: jax.block_until_ready(compiled(*arrays))

    passes = {
        "forward": runner(lambda x, w, g: (conv(x, w),)),
        "backward_data": runner(lambda x, w, g: everything(x, w, g)[1:2]),
        "backward_weight": runner(lambda x, w, g: everything(x, w, g)[2:]),
        "forward_backward": runner(everything),
    }
    to_torch = dict.fromkeys(("y", "dx", "dw"), lambda a: torch.tensor(jax.device_get(a)))
    return Contender(passes, to_torch)


def onnxruntime_contender(t: Tensors) -> Contender:
    """A model of one Conv node whose weights it may repack; forward only, padded beforehand."""
    if t.x.dtype != torch.float32:
        return Contender({})
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    layer, x = t.layer, t.x_padded.numpy()
    node = helper.make_node("Conv", ["x", "w"], ["y"], dilations=[layer.d])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (layer.N, layer.K, layer.W))]
    weights = [numpy_helper.from_array(t.w.numpy(), "w")]
    graph = helper.make_graph([node], "conv", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    # Its idle threads must not spin while the next contender runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    passes = {"forward": lambda: tuple(session.run(None, {"x": x}))}
    return Contender(passes, {"y": torch.from_numpy})


if find_spec("jax"):
    CONTENDERS["jax"] = jax_contender
if find_spec("onnxruntime") and find_spec("onnx"):
    CONTENDERS["onnxruntime"] = onnxruntime_contender
