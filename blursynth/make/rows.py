"""What a shard records of its pairs and of how they were made."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import blursynth
from blursynth.crf import ResponseCurve, response_curve
from blursynth.files import printable
from blursynth.make.plan import ClipPlan
from blursynth.motion import Worth
from blursynth.rendition import Draw, output_curves
from blursynth.synthesis import Pair
from blursynth.windows import pair_key

__all__ = ["attributes_of", "light_fields", "rendition_attributes", "row_of"]


def row_of(plan: ClipPlan, pair: Pair, measured: Worth | None) -> dict[str, int | float]:
    """Return the fields of PAIR_DTYPE for a pair of a clip."""
    info, window = plan.info, pair.window
    ticks = window.exposure_ticks
    seconds = window.length / info.frame_rate if ticks is None else ticks * info.time_base
    row = {
        "number": window.number,
        "first_frame": window.first,
        "centre_frame": window.centre,
        "last_frame": window.stop - 1,
        "first_pts": int(info.pts[window.first]),
        "centre_pts": int(info.pts[window.centre]),
        "last_pts": int(info.pts[window.stop - 1]),
        "num_frames": window.length,
        "num_sub_frames": pair.sub_frames,
        "exposure_seconds": float(seconds),
        "effective_frames": pair.effective_frames,
        "rng_key": pair_key(plan.config.seed, plan.sha256, window.number),
        **light_fields(pair.draw),
        "saturated_fraction": np.count_nonzero(pair.sharp == 255) / pair.sharp.size,
    }
    if measured is not None:
        row |= {
            "motion_p50_px": measured.motion_p50_px,
            "motion_p95_px": measured.motion_p95_px,
            "motion_max_px": measured.motion_max_px,
            "ghost_score": measured.ghost_score,
            "sharpness": measured.sharpness,
            "num_duplicates": measured.num_duplicates,
            "is_frozen": int(measured.is_frozen),
        }
    return row


def light_fields(draw: Draw) -> dict[str, int | float]:
    """Return the fields that say what was drawn for a pair."""
    light = asdict(draw.light)
    return {"noise_key": light.pop("key"), **light, "output_crf": draw.curve}


def rendition_attributes(curve: ResponseCurve, outputs: Sequence[ResponseCurve]) -> dict[str, Any]:
    """Return the response curves, such that `rendition_of_shard` finds them."""
    attributes: dict[str, Any] = {"crf": curve.name, "crf_table": curve.linear_of_codes()}
    if outputs:
        attributes["output_crf"] = ",".join(output.name for output in outputs)
        attributes["output_crf_tables"] = np.stack([output.linear_of_codes() for output in outputs])
    return attributes


def attributes_of(plan: ClipPlan) -> dict[str, Any]:
    """Return what describes all pairs of a shard."""
    info = plan.info
    colour = {
        "matrix": info.colour.matrix,
        "range": "full" if info.colour.is_full_range else "limited",
        "depth": info.colour.depth,
        "transfer": info.transfer,
        "guessed": list(info.colour.guessed),
    }
    attributes = {
        "blursynth_version": blursynth.__version__,
        "config": plan.config.settings(),
        **rendition_attributes(response_curve(plan.crf), output_curves(plan.config.output_crf)),
        "source": printable(info.path.name),
        "source_sha256": plan.sha256,
        "recording": printable(plan.recording),
        "licence": "unspecified",
        "frame_rate": str(info.frame_rate),
        "time_base": str(info.time_base),
        "colour": colour,
    }
    if plan.level is not None:
        attributes["noise_of_a_frame"] = asdict(plan.level)
    return attributes
