import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from blursynth.errors import SettingsError
from blursynth.model.lite import Lite, LiteConfig

SMALL = LiteConfig(channels=(4, 6, 8, 10), encoder_blocks=(1, 1, 1, 1), decoder_blocks=(1, 1, 1))


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def fresh(config: LiteConfig = SMALL) -> Lite:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Lite(config)


def trained(config: LiteConfig = SMALL) -> Lite:
    """A network whose scales and heads are no longer zero."""
    network = fresh(config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma") or name.startswith("heads"):
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return network


@pytest.mark.parametrize(
    ("config", "expected_gmacs", "expected_millions"),
    [(LiteConfig.base(), 17.95, 14.46), (LiteConfig.tiny(), 1.035, 2.163)],
)
def test_light_enough(config: LiteConfig, expected_gmacs: float, expected_millions: float) -> None:
    with torch.device("meta"):
        network = Lite(config).eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 256, 256, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected_gmacs, rel=0.002)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(
        expected_millions, rel=0.002
    )


def test_starts_as_the_identity_exactly() -> None:
    network = fresh()
    blurry = random_images(2, 3, 32, 48)
    restored = network(blurry)
    assert torch.equal(restored[0], blurry)
    for image, expected in zip(restored, network.pyramid(blurry), strict=True):
        assert torch.equal(image, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(blurry)[0], blurry)


@pytest.mark.parametrize("num_levels", [2, 4])
def test_one_image_per_decoder_level_when_training_and_the_finest_when_not(num_levels: int) -> None:
    config = LiteConfig(
        channels=(4,) * num_levels, encoder_blocks=(1,) * num_levels, decoder_blocks=(1,) * (num_levels - 1)
    )
    network = trained(config)
    assert network.size_multiple == 2**num_levels
    blurry = random_images(2, 3, 2 * network.size_multiple, network.size_multiple)
    restored = network(blurry)
    expected = [(2, 3, blurry.shape[2] >> k, blurry.shape[3] >> k) for k in range(num_levels - 1)]
    assert [tuple(image.shape) for image in restored] == expected
    assert [tuple(image.shape) for image in network.pyramid(blurry)] == expected
    (finest,) = network.eval()(blurry)
    assert torch.equal(finest, restored[0])


def test_gradients_reach_every_parameter() -> None:
    network = trained()
    restored = network(random_images(1, 3, 32, 32))
    torch.autograd.backward([image.square().sum() for image in restored])
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_a_fresh_network_learns() -> None:
    # It starts with scales and heads of zero; zeros in both of two factors would never move.
    network = fresh()
    parameters = list(network.parameters())
    blurry = random_images(2, 3, 32, 32)
    sharp = 0.5 + 0.5 * (blurry - 0.5)
    losses = []
    for _ in range(8):
        loss = torch.stack(
            [F.mse_loss(*pair) for pair in zip(network(blurry), network.pyramid(sharp), strict=True)]
        ).sum()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(0.01 * gradient.sign())
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            assert parameter.abs().min() > 0, name


def test_what_it_does_to_a_pixel_depends_on_its_surroundings_alone() -> None:
    config = dataclasses.replace(SMALL, num_fused_levels=3)  # sees 88 px around a square of 16 × 16 px, at most
    network = trained(config).eval()
    whole = random_images(1, 3, 320, 320)
    with torch.inference_mode():
        expected = network(whole)[0][:, :, 32:288, 32:288]
        tile = network(whole[:, :, 32:288, 32:288])[0]
    difference = (tile - expected).abs()
    assert difference[:, :, 96:-96, 96:-96].max() < 1e-5
    assert difference.max() > 1e-3  # the border of the tile does see what was cut away
    assert (tile - whole[:, :, 32:288, 32:288]).abs().mean() > 1e-3  # and the network is no identity


def normalized(features: Tensor) -> Tensor:
    centered = features - features.mean(dim=1, keepdim=True)
    return centered / (centered.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()


def gated(features: Tensor) -> Tensor:
    half = features.shape[1] // 2
    return features[:, :half] * features[:, half:]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_blocks_written_out(layout: torch.memory_format) -> None:
    network = trained()
    weights = network.state_dict()

    def convolve(features: Tensor, name: str, padding: int = 0, groups: int = 1) -> Tensor:
        result = F.conv2d(features, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding, groups=groups)
        return result * weights[f"{name}.gamma"].view(1, -1, 1, 1) if f"{name}.gamma" in weights else result

    name = "encoders.0.0"
    features = random_images(2, 4, 6, 8).contiguous(memory_format=layout)
    expected = features + convolve(gated(convolve(normalized(features), f"{name}.expand", 1)), f"{name}.project")
    torch.testing.assert_close(network.get_submodule(name)(features), expected, atol=1e-5, rtol=1e-5)

    name = "encoders.2.0"
    features = random_images(2, 8, 6, 8).contiguous(memory_format=layout)
    mixed = convolve(convolve(normalized(features), f"{name}.expand"), f"{name}.mix", 2, groups=16)
    expected = features + convolve(gated(mixed), f"{name}.project")
    hidden = gated(convolve(normalized(expected), f"{name}.second_expand"))
    expected = expected + convolve(hidden, f"{name}.second_project")
    torch.testing.assert_close(network.get_submodule(name)(features), expected, atol=1e-5, rtol=1e-5)


def test_the_way_down_and_up_written_out() -> None:
    network = trained(LiteConfig(channels=(4, 6, 8), encoder_blocks=(0, 0, 0), decoder_blocks=(0, 0)))
    weights = network.state_dict()
    blurry = random_images(2, 3, 16, 24)
    half, quarter = F.avg_pool2d(blurry, 2), F.avg_pool2d(blurry, 4)

    def convolve(features: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(features, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride, padding)

    def entered(images: Tensor, level: int) -> Tensor:
        return convolve(F.pixel_unshuffle(images - 0.5, 2), f"entries.{level}", padding=1)

    first = entered(blurry, 0)
    second = convolve(first, "downs.0", stride=2) + entered(half, 1)
    third = convolve(second, "downs.1", stride=2) + entered(quarter, 2)
    second = F.pixel_shuffle(convolve(third, "ups.1.0"), 2) + second
    first = F.pixel_shuffle(convolve(second, "ups.0.0"), 2) + first
    expected = [
        blurry + F.pixel_shuffle(convolve(first, "heads.0", padding=1), 2),
        half + F.pixel_shuffle(convolve(second, "heads.1", padding=1), 2),
    ]
    for image, image_expected in zip(network(blurry), expected, strict=True):
        torch.testing.assert_close(image, image_expected, atol=1e-5, rtol=1e-5)


def test_features_are_normalized_whatever_their_brightness() -> None:
    block = trained().get_submodule("encoders.0.0")
    features = random_images(1, 4, 8, 8)
    brighter = 16 * features + 3
    torch.testing.assert_close(block(brighter) - brighter, block(features) - features, atol=1e-3, rtol=1e-2)


def test_the_input_is_left_as_it_is() -> None:
    network = trained()
    for layout in (torch.contiguous_format, torch.channels_last):
        blurry = random_images(1, 3, 32, 32).contiguous(memory_format=layout)
        before = blurry.clone()
        network(blurry)
        assert torch.equal(blurry, before)


def test_layout_and_autocast_change_only_rounding() -> None:
    network = trained().eval()
    blurry = random_images(1, 3, 32, 32)
    (expected,) = network(blurry)
    (last,) = network(blurry.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (lower,) = network(blurry)
    assert lower.dtype == torch.float32
    torch.testing.assert_close(lower, expected, atol=0.05, rtol=0)


def test_settings_survive_json() -> None:
    config = LiteConfig.tiny()
    again = LiteConfig(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert hash(again) == hash(config)


def test_default_settings_are_the_base() -> None:
    with torch.device("meta"):
        assert Lite().config == LiteConfig.base() == LiteConfig()


@pytest.mark.parametrize(("height", "width"), [(40, 32), (32, 40), (33, 32)])
def test_sizes_that_cannot_be_halved_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{height} × {width}.*multiples of 16"):
        fresh()(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"channels": (4,), "encoder_blocks": (1,), "decoder_blocks": ()}, r"channels is \(4,\)"),
        ({"channels": (4, 0, 8, 8)}, r"channels is \(4, 0, 8, 8\)"),
        ({"encoder_blocks": (1, 1, 1)}, "encoder_blocks.*4 levels of channels need 4"),
        ({"decoder_blocks": (1, -1, 1)}, r"decoder_blocks is \(1, -1, 1\)"),
        ({"num_fused_levels": -1}, "num_fused_levels is -1"),
        ({"depthwise_kernel_size": 4}, "depthwise_kernel_size is 4"),
        ({"depthwise_kernel_size": -1}, "depthwise_kernel_size is -1"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, tuple[int, ...] | int], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        dataclasses.replace(SMALL, **settings)  # type: ignore[arg-type]


def test_a_bound_on_tone_takes_the_local_mean_off_what_is_added_and_nothing_else() -> None:
    network = trained(dataclasses.replace(SMALL, tone_px=32)).eval()
    free = trained().eval()
    images = 0.5 + 0.1 * random_images(1, 3, 96, 128)
    with torch.inference_mode():
        bound, unbound = (net(images)[0] - images for net in (network, free))
    assert unbound.abs().max() > 1e-3
    assert bound[:, :, 16:-16, 16:-16].mean().abs() < 0.2 * unbound[:, :, 16:-16, 16:-16].mean().abs() + 1e-6
    smooth = bound - unbound  # what was taken off is smooth: far from the shape of the difference itself
    assert smooth.diff(dim=3).abs().max() < 0.2 * unbound.diff(dim=3).abs().max()
    network.train()
    free.train()
    torch.testing.assert_close(network(images)[0], free(images)[0], rtol=0, atol=0)
    with pytest.raises(SettingsError, match="tone_px is 7"):
        dataclasses.replace(network.config, tone_px=7)
