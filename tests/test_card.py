from dataclasses import asdict
from typing import Any

import pytest
import torch

from blursynth.model.card import card_text, count_macs
from blursynth.model.checkpoint import Checkpoint
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.networks import NetworkName, network_config
from blursynth.model.settings import TrainConfig
from blursynth.model.validation import SCORE_DEFINITION

LITE = LiteConfig(channels=(2, 3), encoder_blocks=(1, 0), decoder_blocks=(1,))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mscnn", 335.9e9), ("mscnn-2", 487.7e9), ("mscnn-1", 792.5e9), ("lite", 18.0e9), ("lite-tiny", 1.04e9)],
)
def test_the_known_networks_cost_what_is_known(name: NetworkName, expected: float) -> None:
    assert count_macs(network_config(name)) == pytest.approx(expected, rel=0.02)


def text(**scores: Any) -> str:
    with torch.random.fork_rng(devices=[]):
        weights = Lite(LITE).state_dict()
    scores = {"psnr": 31.256, "blurry": 25.1, "pairs": 16, "definition": SCORE_DEFINITION} | scores
    progress = {
        "step": 900, "samples": 1800, "seconds": 90.0, "skipped": 1, "best": {"step": 700, "scores": scores},
    }  # fmt: skip
    last = Checkpoint(LITE, weights, training=asdict(TrainConfig(ema=0.9, seed=77)), progress=progress)
    return card_text(last, {"pairs": 12, "SHA-256 of the pairs": "ab" * 32}, "cpu")


def test_a_card_tells_what_when_how_good_and_by_which_definition() -> None:
    card = text()
    for part in (
        "| best.safetensors | step 700: running mean of the weights (EMA, decay 0.9); to deblur with |",
        "| last.safetensors | step 900: ",
        "| validation PSNR | 31.26 dB |",
        "| of the blurry images | 25.10 dB |",
        f"| definition | {SCORE_DEFINITION} |",
        "| SHA-256 of the pairs | " + "ab" * 32,
        "| parameters | ",
        "| multiply-adds for 256 x 256 px | ",
        "| samples seen | 1,800 |",
        "| seed | 77 |",
        "| torch | ",
    ):
        assert part in card, part


def test_without_validation_there_is_no_score() -> None:
    assert "| validation PSNR | none |" in text(psnr=None, blurry=None, pairs=0)
