import pytest
from hypothesis import given
from hypothesis import strategies as st

from blursynth.model.stages import plan_stages, stage_at


def test_without_growth_there_is_one_stage() -> None:
    (stage,) = plan_stages(256, 2, 7, is_progressive=False)
    assert (stage.begin, stage.patch, stage.batch, stage.seed) == (0.0, 256, 2, 7)


def test_crops_grow_while_a_step_keeps_its_pixels() -> None:
    stages = plan_stages(256, 64, 0, is_progressive=True)
    assert [(stage.begin, stage.patch, stage.batch) for stage in stages] == [
        (0.0, 192, 112),
        (0.4, 256, 64),
        (0.85, 384, 28),
    ]
    pixels = [stage.patch**2 * stage.batch for stage in stages]
    assert max(pixels) / min(pixels) < 1.03


@given(patch=st.integers(4, 64).map(lambda n: 16 * n), batch=st.integers(1, 512))
def test_every_stage_has_something_to_read_and_hardly_more_pixels_than_the_middle_one(patch: int, batch: int) -> None:
    stages = plan_stages(patch, batch, 0, is_progressive=True)
    assert stages[1].patch == patch
    assert stages[1].batch <= batch < stages[1].batch * 2
    for stage in stages:
        assert stage.batch >= 1
        assert stage.batch % 2 == 0 or batch % 2 == 1 or batch < 4
        assert stage.batch == 1 or stage.batch * stage.patch**2 <= 1.13 * batch * patch**2


def test_no_stage_repeats_the_samples_of_another() -> None:
    seeds = [stage.seed for stage in plan_stages(256, 64, 3, is_progressive=True)]
    assert seeds[0] == 3
    assert len(set(seeds)) == 3


@pytest.mark.parametrize(
    ("fraction", "patch"), [(0.0, 192), (0.3999, 192), (0.4, 256), (0.8499, 256), (0.85, 384), (1.0, 384)]
)
def test_a_fraction_of_the_run_tells_the_stage(fraction: float, patch: int) -> None:
    assert stage_at(plan_stages(256, 64, 0, is_progressive=True), fraction).patch == patch
