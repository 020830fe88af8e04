"""torch.func's transforms, vmap and forward mode give what they give on torch in float64."""

import copy
from itertools import product

import dilconv
import pytest
import torch
from dilconv.reference import conv1d_reference
from torch import nn
from torch.autograd import forward_ad
from torch.func import (
    functional_call,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)

N, C, K, W, S = 2, 3, 4, 12, 3
SHAPES = {"x": (N, C, W), "w": (K, C, S), "b": (K,), "residual": (N, K, W)}
GEOMETRY = {"padding": (1, 3), "dilation": 2}
ALGORITHMS = ["direct", "winograd", "spectral"]


def close(ours, exact, relative=1e-6):
    """Every tensor of `ours` has the values of `exact`, as a share of the norm."""
    assert len(ours) == len(exact)
    for mine, theirs in zip(ours, exact, strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == torch.float32 and theirs.dtype == torch.float64
        assert theirs.norm() > 0
        assert (mine.double() - theirs).norm() <= relative * theirs.norm()


def inputs(*sizes):
    """x, w, b and residual; with an argument, four that are mapped over a first dimension.

    Small, because tanh hides what is large and its derivatives are then ill-conditioned.
    """
    return [torch.randn(*sizes, *shape) / 3 for shape in SHAPES.values()]


def kernels(activation, algorithm="direct"):
    """Of x, w, b, residual: one of the library's, and its definition in float64."""

    def ours(x, w, b=None, residual=None):
        options = {"activation": activation, "residual": residual, "algorithm": algorithm}
        return dilconv.conv1d(x, w, b, **GEOMETRY, **options)

    def exact(x, w, b=None, residual=None):
        options = {"activation": activation, "residual": residual}
        return conv1d_reference(x, w, b, **GEOMETRY, **options)

    return ours, exact


def check(transform, tensors, activation=None, algorithm="direct"):
    """`transform(conv)(*tensors)` by the library and in float64."""
    ours, exact = kernels(activation, algorithm)
    results = [
        transform(conv)(*(t.to(dtype) for t in tensors))
        for conv, dtype in ((ours, torch.float32), (exact, torch.float64))
    ]
    close(*([r] if isinstance(r, torch.Tensor) else list(r) for r in results))


def loss(conv):
    """A scalar with second derivatives."""
    return lambda *tensors: conv(*tensors).tanh().square().sum()


def flat(derivative):
    """All blocks of a nested tuple of derivatives, those that are 0 everywhere aside."""
    if isinstance(derivative, torch.Tensor):
        return [derivative] if derivative.count_nonzero() else []
    return [block for part in derivative for block in flat(part)]


ALL = (0, 1, 2, 3)
DERIVATIVES = {
    "grad": lambda f: grad(loss(f), ALL),
    "vjp": lambda f: lambda *t: vjp(f, *t)[1](t[3]),
    "jvp": lambda f: lambda *t: jvp(f, t, tuple(a.cos() for a in t)),
    "jvp of grad": lambda f: lambda *t: jvp(grad(loss(f), ALL), t, tuple(a.cos() for a in t))[1],
    "grad of jvp": lambda f: grad(lambda *t: jvp(loss(f), t, tuple(a.cos() for a in t))[1], ALL),
    "grad of grad": lambda f: grad(lambda *t: loss(grad(loss(f)))(*t), ALL),
    "jvp of jvp": lambda f: lambda *t: jvp(lambda *u: jvp(loss(f), u, u)[1], t, t)[1],
    "jacrev": lambda f: lambda *t: flat(jacrev(f, ALL)(*t)),
    "jacfwd": lambda f: lambda *t: flat(jacfwd(f, ALL)(*t)),
    "hessian": lambda f: lambda *t: flat(hessian(loss(f), ALL)(*t)),
    "jacrev of jacrev": lambda f: lambda *t: flat(jacrev(jacrev(loss(f), ALL), ALL)(*t)),
    "jacfwd of jacfwd": lambda f: lambda *t: flat(jacfwd(jacfwd(loss(f), ALL), ALL)(*t)),
    "jacrev of jacfwd": lambda f: lambda *t: flat(jacrev(jacfwd(loss(f), ALL), ALL)(*t)),
}


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name, activation):
    check(DERIVATIVES[name], inputs(), activation)


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
@pytest.mark.parametrize("name", ["jvp of grad", "hessian"])
def test_derivatives_of_other_algorithms(name, algorithm):
    check(DERIVATIVES[name], inputs(), "relu", algorithm)


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("activation", [None, "relu"])
def test_forward_mode_of_one_argument(which, activation):
    tensors, v = inputs(), torch.randn(*list(SHAPES.values())[which])

    def directional(f):
        def call(*t):
            before, after = t[:which], t[which + 1 :]
            return jvp(lambda a: f(*before, a, *after), (t[which],), (v.to(t[0].dtype),))

        return call

    check(directional, tensors, activation)


MAPPED = [dims for dims in product((0, None), repeat=4) if any(d is not None for d in dims)]


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dims", MAPPED, ids=str)
def test_vmap_over_any_arguments(dims, activation):
    """Values and the gradients of a sum, which autograd takes behind vmap."""
    single, mapped = inputs(), inputs(5)
    tensors = [s if dim is None else m for s, m, dim in zip(single, mapped, dims, strict=True)]
    check(lambda f: vmap(f, dims), tensors, activation)

    def gradients(f):
        def call(*t):
            t = [a.clone().requires_grad_() for a in t]
            return torch.autograd.grad(vmap(f, dims)(*t).tanh().sum(), t)

        return call

    check(gradients, tensors, activation)
    check(lambda f: grad(lambda *t: vmap(f, dims)(*t).tanh().sum(), ALL), tensors, activation)
    check(lambda f: vmap(grad(loss(f), ALL), dims), tensors, activation)
    check(lambda f: vmap(lambda *t: jvp(f, t, t)[1], dims), tensors, activation)


@pytest.mark.parametrize("dim", [1, 2, 3, -1])
@pytest.mark.parametrize("which", ["x", "w"])
def test_the_mapped_dimension_is_anywhere(which, dim):
    single, mapped = inputs(), inputs(5)
    dims = [dim if name == which else None for name in SHAPES]
    tensors = [
        s if d is None else m.movedim(0, d) for s, m, d in zip(single, mapped, dims, strict=True)
    ]
    check(lambda f: vmap(f, tuple(dims)), tensors)
    check(lambda f: vmap(grad(loss(f), ALL), tuple(dims)), tensors, "relu")
    check(lambda f: vmap(f, tuple(dims), out_dims=-1), tensors)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_nested_vmap(activation):
    x, w, b, residual = torch.randn(5, N, C, W), torch.randn(6, K, C, S), *inputs()[2:]
    over_both = lambda f: vmap(vmap(f, (0, None, None, None)), (None, 0, None, None))  # noqa: E731
    check(over_both, (x, w, b, residual), activation)
    check(lambda f: over_both(grad(loss(f), ALL)), (x, w, b, residual), activation)
    both = torch.randn(6, 5, N, C, W)
    check(lambda f: vmap(vmap(f, (0, None)), (0, 0)), (both, w), activation)


@pytest.mark.parametrize("options", [{"chunk_size": 2}, {"randomness": "different"}], ids=str)
def test_options_of_vmap(options):
    x, w = torch.randn(5, N, C, W), torch.randn(5, K, C, S)
    check(lambda f: vmap(grad(loss(f), (0, 1)), **options), (x, w))


def test_vmap_over_nothing():
    x, w = torch.randn(0, N, C, W), inputs()[1]
    theirs = vmap(nn.functional.conv1d, (0, None))(x, w)
    assert vmap(dilconv.conv1d, (0, None))(x, w).shape == theirs.shape
    with pytest.raises(RuntimeError):
        vmap(dilconv.conv1d)(x, torch.randn(0, K, C, S))


def unbatched_rows():
    return torch.randn(5, C, W), torch.randn(K, C, S)


def test_unbatched_samples():
    check(lambda f: vmap(lambda x, w: f(x[None], w)[0], (0, None)), unbatched_rows())
    x, w = unbatched_rows()
    assert torch.equal(vmap(dilconv.conv1d, (0, None))(x, w), dilconv.conv1d(x, w))


def networks():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv1d(C, K, 9, padding=4), nn.Tanh(), nn.Conv1d(K, 2, 3))
    return plain.double(), dilconv.convert(copy.deepcopy(plain).float())


def weights_of(model):
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_per_sample_gradients_of_a_model(chunk_size):
    x = torch.randn(5, C, W)

    def per_sample(model):
        def score(p, one):
            return functional_call(model, p, (one[None],)).square().mean()

        dtype = next(model.parameters()).dtype
        rows = vmap(grad(score), (None, 0), chunk_size=chunk_size)(weights_of(model), x.to(dtype))
        return list(rows.values())

    plain, ours = networks()
    close(per_sample(ours), per_sample(plain))


def test_an_ensemble_of_models():
    x, pairs = torch.randn(2, C, W), [networks() for _ in range(3)]
    for plain, ours in pairs:
        for p, q in zip(plain.parameters(), ours.parameters(), strict=True):
            p.data.normal_()
            q.data.copy_(p.data)

    def answers(models, x):
        parameters, buffers = stack_module_state(models)
        base = copy.deepcopy(models[0]).to("meta")

        def call(p, b):
            return functional_call(base, (p, b), (x,))

        return [vmap(call)(parameters, buffers)]

    plains, ours = zip(*pairs, strict=True)
    close(answers(ours, x), answers(plains, x.double()))


def test_hessian_of_a_model():
    plain, ours = networks()
    x = torch.randn(1, C, W)
    blocks = [
        hessian(lambda a, m=m: m(a).square().sum())(x.to(d))
        for m, d in zip((ours, plain), (torch.float32, torch.float64), strict=True)
    ]
    close(*([block] for block in blocks))


@pytest.mark.parametrize("activation", [None, "relu"])
def test_dual_tensors_with_frozen_weights(activation):
    tensors = inputs()

    def tangent(f):
        def call(x, *rest):
            with forward_ad.dual_level():
                return forward_ad.unpack_dual(f(forward_ad.make_dual(x, x.cos()), *rest)).tangent

        return call

    check(tangent, tensors, activation)


def test_forward_over_reverse_and_reverse_over_forward():
    """With dual tensors: a product with the Hessian, both ways round."""

    def forward_over_reverse(f):
        def call(x, *rest):
            with forward_ad.dual_level():
                dual = forward_ad.make_dual(x.clone().requires_grad_(), x.cos())
                (dx,) = torch.autograd.grad(loss(f)(dual, *rest), dual, create_graph=True)
                return forward_ad.unpack_dual(dx).tangent.detach()

        return call

    def reverse_over_forward(f):
        def call(x, *rest):
            x = x.clone().requires_grad_()
            with forward_ad.dual_level():
                y = loss(f)(forward_ad.make_dual(x, x.detach().cos()), *rest)
                return torch.autograd.grad(forward_ad.unpack_dual(y).tangent, x)[0]

        return call

    for order in (forward_over_reverse, reverse_over_forward):
        check(order, inputs(), "relu")


def test_batched_gradients():
    """A Jacobian in one backward pass: `is_grads_batched`."""

    def jacobian(f):
        def call(x, w):
            x = x.clone().requires_grad_()
            y = f(x, w)
            basis = torch.eye(y.numel(), dtype=x.dtype).reshape(-1, *y.shape)
            return torch.autograd.grad(y, x, basis, is_grads_batched=True)[0]

        return call

    check(jacobian, inputs()[:2])
    for strategy in ("reverse-mode", "forward-mode"):
        check(
            lambda f, how=strategy: (
                lambda x, w: torch.autograd.functional.jacobian(
                    lambda x: f(x, w), x, vectorize=True, strategy=how
                )
            ),
            inputs()[:2],
        )


def test_no_grad_inside_and_outside_of_grad():
    """As torch has it: what is computed inside no_grad is a constant."""

    def part(f):
        def score(x, w):
            with torch.no_grad():
                constant = f(x, w)
            return (f(x, w).square() * constant).sum()

        return score

    check(lambda f: grad(part(f)), inputs()[:2])
    check(lambda f: grad(lambda *t: grad(part(f))(*t).square().sum()), inputs()[:2])
    with torch.no_grad():
        check(lambda f: grad(loss(f)), inputs()[:2])


@pytest.mark.parametrize("activation", [None, "relu"])
def test_autocast_inside_transforms(activation):
    """bfloat16 as without a transform, to the bit; gradients within bfloat16 of float64."""
    x, w, b, residual = inputs(5)[0], *inputs()[1:]
    ours, exact = kernels(activation)

    def cast(*tensors):
        with torch.autocast("cpu", torch.bfloat16):
            return ours(*tensors)

    rows = vmap(cast, (0, None, None, None))(x, w, b, residual)
    assert rows.dtype == torch.bfloat16
    assert torch.equal(rows, torch.stack([cast(one, w, b, residual) for one in x]))
    found = vmap(grad(lambda *t: cast(*t).float().tanh().sum(), ALL), (0, None, None, None))
    expected = vmap(grad(lambda *t: exact(*t).tanh().sum(), ALL), (0, None, None, None))
    tensors = x, w, b, residual
    close(found(*tensors), expected(*(t.double() for t in tensors)), relative=0.02)


def test_what_escapes_a_transform_is_an_ordinary_tensor():
    kept = []
    x, w = inputs()[:2]

    def score(x):
        kept.append(x)
        return dilconv.conv1d(x, w).sum()

    grad(score)(x)
    assert torch.equal(dilconv.conv1d(kept[0], w), dilconv.conv1d(x, w))
