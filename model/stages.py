"""Progressive patches: small and many at first, large and few at the end."""

from dataclasses import dataclass

__all__ = ["Stage", "plan_stages", "stage_at"]

_GROWTH = ((0.0, 3, 4), (0.40, 1, 1), (0.85, 3, 2))  # from which fraction of the run, and the ratio of the sides
_SEED_STEP = 1 << 32  # a stage numbers its samples from its own batch size: they must not repeat an earlier stage's


@dataclass(frozen=True, slots=True)
class Stage:
    """What is read from a fraction of the run on: the side of the crops in px, crops in a step, and their seed."""

    begin: float
    patch: int
    batch: int
    seed: int


def plan_stages(patch: int, batch: int, seed: int, *, is_progressive: bool) -> tuple[Stage, ...]:
    """Return the stages of a run: one, or three whose crops grow while a step keeps about as many pixels.

    Parameters
    ----------
    patch, batch
        Of the only stage, or of the one in the middle; 256 and 64 become 192 and 112, 256 and 64, 384 and 28. Batches
        from 4 on stay even if they are, so that several processes can share them.

    Notes
    -----
    After Restormer (Zamir et al., CVPR 2022): large crops at the end make up for the difference between crops and
    whole photographs, small ones at first make the many early steps cheap.
    """
    if not is_progressive:
        return (Stage(0.0, patch, batch, seed),)
    is_even = batch % 2 == 0 and batch >= 4
    unit = max(1 + is_even, 1 << max(0, (batch // 16).bit_length() - 1))  # 4 of a batch of 64
    return tuple(
        Stage(
            begin,
            patch * over // under,
            max(unit, batch * under**2 // over**2 // unit * unit),
            seed + number * _SEED_STEP,
        )
        for number, (begin, over, under) in enumerate(_GROWTH)
    )


def stage_at(stages: tuple[Stage, ...], fraction: float) -> Stage:
    """Return the stage at a fraction of the run."""
    return [stage for stage in stages if stage.begin <= fraction][-1]
