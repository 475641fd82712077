"""How the weights that come with blursynth are made: photographs in, weights and their card out.

    python -m blursynth.model.recipe photos/ -o work/ --minutes 120 --exclude 'urban100*'

1. Every photograph is written twice: as it is, and enlarged by half. Photographs that were reduced for the web are
   sharper, pixel for pixel, than frames of cameras; enlarged ones have the spectrum of those.
2. They are shaken: on a GPU, or with ``--online``, while the network trains, endlessly (`blursynth.model.online`);
   else beforehand, once, into shards (`blursynth.make.stills`), since two processor cores would spend half their time
   on it.
3. The networks train for the minutes there are.
4. The result is scored on pairs that had no part in it, and written as `load_bundled` wants it.

Killed, it goes on when the same command is run again. On a GPU, or with ``--online``, it needs torch, NumPy, Pillow and
safetensors only; with numba too, it also scores SSIM.
"""

from .budget import SIZES, Budget, Size
from .making import Made, make_weights, score_pairs
from .photographs import prepare_photographs, shake_once

__all__ = ["SIZES", "Budget", "Made", "Size", "make_weights", "prepare_photographs", "score_pairs", "shake_once"]
