import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blursynth.model.distributed import World
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.metrics import psnr
from blursynth.model.validation import mean_score, score, validate

LITE = LiteConfig(channels=(2, 3), encoder_blocks=(0, 0), decoder_blocks=(0,))
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")

Examples = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@pytest.fixture
def network() -> Lite:
    """Untrained: the identity."""
    with torch.random.fork_rng(devices=[]):
        return Lite(LITE)


@pytest.fixture
def examples() -> Examples:
    codes = np.random.default_rng(0).integers(0, 256, (5, 2, 20, 17, 3)).astype(np.uint8)
    return [(pair[0], pair[1]) for pair in codes]


def test_each_example_is_scored_once_and_the_score_is_that_of_all(
    network: Lite, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    whole = validate(network, CPU, examples, World(), lambda number, _image: shown.append(number))
    assert whole == pytest.approx(np.mean([psnr(*pair) for pair in examples]))
    assert shown == [0, 1, 2, 3, 4]
    found: dict[int, list[float]] = {}
    numbers: list[int] = []

    def collect(world: World, values: list[float], count: int) -> list[float]:
        assert count == 5
        found[world.rank] = values
        return values

    monkeypatch.setattr(World, "collect", collect)
    for rank in range(2):
        validate(network, CPU, examples, World(rank, 2), lambda number, _image: numbers.append(number))
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    assert numbers == [0, 2, 4, 1, 3]
    assert np.mean(found[0] + found[1]) == pytest.approx(whole)


def test_without_examples_there_is_no_score(network: Lite) -> None:
    assert validate(network, CPU, [], World(), lambda _number, _image: None) is None
    assert mean_score([]) is None


def test_equal_images_count_a_hundred(examples: Examples) -> None:
    assert score(examples[0][0], examples[0][0]) == 100
    assert score(*examples[0]) == psnr(*examples[0])
