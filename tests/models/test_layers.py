import importlib.util

import pytest
import torch
import torch.nn.functional as F
from denoiseq.models.layers import ResBlock, SameConv1d
from denoiseq.settings import Conv
from denoiseq.settings.model import DenoisingResNet

CONVS = ["torch"]
if importlib.util.find_spec("dilconv"):
    CONVS.append("dilconv")


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (5, 3), (4, 1), (50, 1), (6, 3)])
def test_same_padding_is_torchs_own(conv, kernel_size, dilation):
    torch.manual_seed(0)
    layer = SameConv1d(3, 2, kernel_size, dilation=dilation, activation=None, conv=Conv(conv))
    x = torch.randn(2, 3, 97)
    weight, bias = layer.conv_layer.weight, layer.conv_layer.bias
    expected = F.conv1d(x, weight, bias, padding="same", dilation=dilation)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_extra_zero_of_an_odd_total_is_on_the_right():
    layer = SameConv1d(1, 1, 2, bias=False, activation=None, conv=Conv("torch"))
    with torch.no_grad():
        layer.conv_layer.weight.copy_(torch.tensor([[[1.0, 10.0]]]))
    y = layer(torch.tensor([[[1.0, 2.0, 3.0]]]))
    assert y.tolist() == [[[21.0, 32.0, 3.0]]]


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("activation", [None, "relu", "prelu"])
def test_residual_is_added_before_the_activation(conv, activation):
    torch.manual_seed(1)
    layer = SameConv1d(2, 3, 5, dilation=2, activation=activation, conv=Conv(conv))
    x, residual = torch.randn(2, 2, 40), torch.randn(2, 3, 40)
    y = F.conv1d(x, layer.conv_layer.weight, layer.conv_layer.bias, padding=4, dilation=2)
    y = y + residual
    if activation == "relu":
        y = torch.relu(y)
    if activation == "prelu":
        y = torch.where(y > 0, y, 0.25 * y)
    torch.testing.assert_close(layer(x, residual), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("conv", CONVS)
def test_batch_norm_comes_between_convolution_and_residual(conv):
    torch.manual_seed(2)
    layer = SameConv1d(2, 3, 3, batch_norm=True, activation="relu", conv=Conv(conv)).train()
    x, residual = torch.randn(4, 2, 30), torch.randn(4, 3, 30)
    y = F.conv1d(x, layer.conv_layer.weight, layer.conv_layer.bias, padding=1)
    mean, var = y.mean((0, 2), keepdim=True), y.var((0, 2), keepdim=True, unbiased=False)
    expected = torch.relu((y - mean) / (var + 1e-5).sqrt() + residual)
    torch.testing.assert_close(layer(x, residual), expected, rtol=1e-4, atol=1e-5)


def test_block_is_act_of_three_convolutions_plus_skip():
    torch.manual_seed(3)
    block = ResBlock(1, 4, 5, dilation=2, bias=True, activation="relu", conv=Conv("torch"))
    x = torch.randn(2, 1, 50)

    def conv(name, h, padding, dilation):
        layer = getattr(block, name).conv_layer
        return F.conv1d(h, layer.weight, layer.bias, padding=padding, dilation=dilation)

    h = torch.relu(conv("conv_act2", torch.relu(conv("conv_act1", x, 4, 2)), 4, 2))
    expected = torch.relu(conv("conv_act3", h, 4, 2) + torch.relu(conv("conv_input", x, 0, 1)))
    torch.testing.assert_close(block(x), expected)
    assert block.conv_input.conv_layer.bias is None
    assert ResBlock(4, 4, 5, activation="relu", conv=Conv("torch")).conv_input is None


@pytest.mark.parametrize(
    ("kind", "wrong"), [(Conv, {"backend": "cudnn"}), (DenoisingResNet, {"activation": "gelu"})]
)
def test_unknown_choice_is_a_sentence(kind, wrong):
    (value,) = wrong.values()
    with pytest.raises(ValueError, match=rf"is '{value}', expected one of"):
        kind(**wrong)
