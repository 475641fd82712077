import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blursynth.errors import SettingsError
from blursynth.model.settings import FREE_ON_RESUME, TrainConfig, fraction_done, learning_rate, stages_of

STEP = TrainConfig(schedule="step", learning_rate=1e-3)
COSINE = TrainConfig(schedule="cosine", learning_rate=1e-3)


def test_the_defaults_are_those_of_the_paper() -> None:
    config = TrainConfig()
    assert (config.network, config.patch, config.batch, config.learning_rate) == ("mscnn", 256, 2, 5e-5)
    assert (config.loss, config.schedule, config.steps, config.clip_norm) == ("content-l2", "step", 900_000, None)
    assert (config.optimizer, config.augmentation, config.ema, config.adversarial) == ("adam", "paper", 0, False)
    assert (config.coarse_weight, config.fft_weight, config.progressive, config.accumulate) == (1, 0, False, 1)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("steps", 1),
        ("batch", 1),
        ("patch", 16),
        ("workers", 0),
        ("validation_pairs", 1),
        ("validation_patch", 16),
        ("seed", 0),
    ],
)
def test_whole_numbers_have_a_lower_bound(name: str, least: int) -> None:
    assert getattr(TrainConfig(**{name: least}), name) == least  # type: ignore[arg-type]  # mypy takes all together
    with pytest.raises(SettingsError, match=f"{name} {least - 1}: must be {least} or more"):
        TrainConfig(**{name: least - 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["minutes", "learning_rate", "clip_norm", "save_minutes"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, -math.inf, math.nan])
def test_quantities_are_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} {value}: must be more than 0"):
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert getattr(TrainConfig(**{name: 1e-9}), name) == 1e-9  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["minutes", "clip_norm"])
def test_some_quantities_may_be_left_out(name: str) -> None:
    assert getattr(TrainConfig(**{name: None}), name) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.1, 1.0, 2.0, math.nan])
def test_the_validation_fraction_leaves_something_to_train(value: float) -> None:
    with pytest.raises(SettingsError, match=f"validation_fraction {value}"):
        TrainConfig(validation_fraction=value)
    assert TrainConfig(validation_fraction=0).validation_fraction == 0


@pytest.mark.parametrize(("name", "known"), [("network", "lite-tiny"), ("schedule", "cosine"), ("loss", "psnr")])
def test_unknown_words_are_refused_with_the_known_ones(name: str, known: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} 'best' is unknown.*{known}"):
        TrainConfig(**{name: "best"})  # type: ignore[arg-type]
    assert getattr(TrainConfig(**{name: known}), name) == known  # type: ignore[arg-type]


@pytest.mark.parametrize(("network", "multiple"), [("mscnn", 4), ("lite", 16), ("lite-tiny", 32)])
def test_patches_are_such_as_the_network_takes(network: Any, multiple: int) -> None:
    assert TrainConfig(network=network, patch=64 + multiple).patch == 64 + multiple
    with pytest.raises(
        SettingsError, match=f"patch {64 + multiple // 2}: must be a multiple of {multiple} for {network}"
    ):
        TrainConfig(network=network, patch=64 + multiple // 2)


def test_what_is_free_on_resume_is_a_setting() -> None:
    assert set(TrainConfig.__slots__) > FREE_ON_RESUME
    assert not FREE_ON_RESUME & {"network", "loss", "seed", "batch", "patch", "learning_rate", "validation_fraction"}


def test_the_paper_drops_the_rate_to_a_tenth_after_a_third() -> None:
    assert learning_rate(STEP, 0.0) == learning_rate(STEP, 0.3333) == 1e-3
    assert learning_rate(STEP, 1 / 3) == pytest.approx(1e-4)
    assert learning_rate(STEP, 1.0) == pytest.approx(1e-4)
    steps = 900_000  # 3e5 iterations at 5e-5, then 5e-6 until 9e5
    rates = [learning_rate(TrainConfig(), fraction_done(TrainConfig(), step, 0)) for step in (299_999, 300_000, steps)]
    assert rates == pytest.approx([5e-5, 5e-6, 5e-6])


def test_a_cosine_warms_up_to_its_peak_and_falls_to_a_hundredth() -> None:
    assert 0 < learning_rate(COSINE, 0.0) < 0.1e-3
    assert learning_rate(COSINE, 0.01) == pytest.approx(0.5e-3, rel=0.06)
    assert learning_rate(COSINE, 0.02) == pytest.approx(1e-3)
    assert learning_rate(COSINE, 0.51) == pytest.approx(0.505e-3)  # half of the way
    assert learning_rate(COSINE, 1.0) == pytest.approx(1e-5)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_cosine_rises_only_while_it_warms_up(a: float, b: float) -> None:
    a, b = min(a, b), max(a, b)
    rates = learning_rate(COSINE, a), learning_rate(COSINE, b)
    assert all(0 < rate <= 1e-3 * (1 + 1e-12) for rate in rates)
    if b <= 0.02:
        assert rates[0] <= rates[1] * (1 + 1e-12)
    if a >= 0.02:
        assert rates[0] * (1 + 1e-12) >= rates[1]


@pytest.mark.parametrize("config", [STEP, COSINE])
def test_the_rate_is_a_multiple_of_the_setting(config: TrainConfig) -> None:
    doubled = replace(config, learning_rate=2e-3)
    for fraction in (0.0, 0.1, 0.5, 1.0):
        assert learning_rate(doubled, fraction) == pytest.approx(2 * learning_rate(config, fraction))


@pytest.mark.parametrize(
    ("minutes", "step", "seconds", "expected"),
    [
        (None, 0, 0.0, 0.0),
        (None, 25, 1e9, 0.25),  # without a limit, time does not count
        (None, 100, 0.0, 1.0),
        (None, 200, 0.0, 1.0),
        (2.0, 25, 0.0, 0.25),
        (2.0, 25, 60.0, 0.5),  # whichever is further
        (2.0, 75, 60.0, 0.75),
        (2.0, 0, 120.0, 1.0),
        (2.0, 0, 500.0, 1.0),
    ],
)
def test_steps_or_time_tell_how_much_is_done(minutes: float | None, step: int, seconds: float, expected: float) -> None:
    assert fraction_done(TrainConfig(steps=100, minutes=minutes), step, seconds) == pytest.approx(expected)


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan, math.inf])
def test_the_decay_of_the_mean_is_below_one(value: float) -> None:
    with pytest.raises(SettingsError, match=f"ema {value}"):
        TrainConfig(ema=value)
    assert TrainConfig(ema=0.999).ema == 0.999


@pytest.mark.parametrize("name", ["coarse_weight", "fft_weight"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_weights_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} {value}: must be 0 or more"):
        TrainConfig(**{name: value})  # type: ignore[arg-type]
    assert getattr(TrainConfig(**{name: 0.0}), name) == 0  # type: ignore[arg-type]


def test_a_batch_has_no_more_parts_than_crops() -> None:
    assert TrainConfig(batch=4, accumulate=4).accumulate == 4
    with pytest.raises(SettingsError, match="accumulate 5: a batch of 4"):
        TrainConfig(batch=4, accumulate=5)


@pytest.mark.parametrize(
    ("name", "known"), [("optimizer", "adamw"), ("augmentation", "turns"), ("light", "stored"), ("loss", "charbonnier")]
)
def test_other_words_are_refused_too(name: str, known: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} 'best' is unknown.*{known}"):
        TrainConfig(**{name: "best"})  # type: ignore[arg-type]
    assert getattr(TrainConfig(**{name: known}), name) == known  # type: ignore[arg-type]


def test_every_patch_of_a_progressive_run_is_such_as_the_network_takes() -> None:
    assert [stage.patch for stage in stages_of(TrainConfig(network="lite", patch=64, progressive=True))] == [48, 64, 96]
    with pytest.raises(SettingsError, match=r"patch 60 \(progressive, from patch 80\): must be a multiple of 16"):
        TrainConfig(network="lite", patch=80, progressive=True)


def test_the_discriminator_takes_what_it_takes() -> None:
    assert TrainConfig(adversarial=True, patch=512).adversarial
    for changes in ({"patch": 128}, {"patch": 256, "progressive": True}):
        with pytest.raises(SettingsError, match=r"the discriminator of --adversarial takes multiples of 256"):
            TrainConfig(adversarial=True, **changes)  # type: ignore[arg-type]
