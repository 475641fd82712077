"""Good files, made once: what the faults are made of."""

import json
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from blursynth.make import MakeConfig, make_dataset
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.online.packing import pack_photos
from samples import moving_texture

__all__ = ["Goods", "encode", "make_goods", "picture"]


@dataclass(frozen=True, slots=True)
class Goods:
    """A folder of good clips, shards, photographs and a checkpoint; made by `make_goods`."""

    folder: Path

    def path(self, name: str) -> Path:
        """Return where one of them is."""
        return self.folder / name


def encode(
    path: Path,
    frames: NDArray[Any] | None = None,
    *,
    num_frames: int = 24,
    size: tuple[int, int] = (48, 64),
    rate: int = 240,
    codec: str = "ffv1",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    tags: dict[str, int] | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    num_streams: int = 1,
) -> Path:
    """Write a clip; FFV1 in Matroska is without loss."""
    if frames is None:
        frames = moving_texture(num_frames, *size)
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        streams: list[Any] = [container.add_stream(codec, rate=rate, options=options or {}) for _ in range(num_streams)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel_format
            stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
            for key, value in (tags or {}).items():
                setattr(stream.codec_context, key, value)
        for index, pixels in enumerate(frames):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame = frame.reformat(format=pixel_format)
                frame.pts = index if pts is None else pts[index]
                frame.time_base = Fraction(1, rate)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def picture(height: int = 64, width: int = 96, *, seed: int = 0) -> NDArray[np.uint8]:
    """Return a smooth picture, (H, W, 3) uint8."""
    return np.asarray(moving_texture(1, height, width, seed=seed)[0])


def make_goods(folder: Path) -> Goods:
    """Make all of them."""
    folder.mkdir(parents=True)
    encode(folder / "clip.mkv")
    encode(folder / "other.mkv", moving_texture(24, 48, 64, seed=1))
    h264 = {"codec": "libx264", "size": (96, 128), "num_frames": 48, "options": {"g": "8", "bf": "0"}}
    encode(folder / "clip.mp4", **h264)  # type: ignore[arg-type]
    encode(folder / "fast.mp4", container_options={"movflags": "faststart"}, **h264)  # type: ignore[arg-type]
    shutil.copyfile(folder / "other.mkv", folder / "twin.mkv")  # whose name is as long: shards of one size
    make_dataset([folder / "clip.mkv", folder / "twin.mkv"], folder / "shards", MakeConfig(window="3"))
    for number in range(3):
        Image.fromarray(picture(seed=number)).save(folder / f"photo{number}.png")
    Image.fromarray(picture()).save(folder / "photo.jpg", quality=95)
    (folder / "photos").mkdir()
    for number in range(4):
        Image.fromarray(picture(128, 160, seed=number)).save(folder / "photos" / f"{number}.png")
    for side in ("blur", "sharp"):
        shutil.copytree(folder / "photos", folder / "pairs" / side)
    pack_photos(sorted((folder / "photos").iterdir()), folder / "photos.pack")
    _write_bracket(folder)
    Image.fromarray(picture()).save(folder / "photo.tif", compression="tiff_lzw")
    Image.fromarray(picture()).save(folder / "photo.webp", lossless=True)
    (folder / "curve.json").write_text(
        json.dumps({"schema": "blursynth response curve 1", "table": np.linspace(0, 1, 256).tolist()})
    )
    write_checkpoint(folder / "tiny.safetensors")
    torch.save({"G": _port_weights()}, folder / "published.pt")
    return Goods(folder)


def _write_bracket(folder: Path) -> None:
    """Write five exposures of a scene of flat patches; a camera's curve can be measured from them."""
    light = np.exp(np.linspace(-6, 0, 400)).reshape(20, 20)
    for stop in range(5):
        codes = np.rint(255 * np.clip(light * 2.0 ** (stop - 2), 0, 1) ** (1 / 2.2)).astype(np.uint8)
        Image.fromarray(np.kron(codes, np.ones((16, 16), np.uint8))).convert("RGB").save(folder / f"bracket{stop}.png")


def write_checkpoint(path: Path) -> None:
    """Write a network small enough to compute in no time; it changes pictures a little."""
    config = LiteConfig(channels=(4, 8), encoder_blocks=(1, 1), decoder_blocks=(1,), num_fused_levels=2)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Lite(config).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_checkpoint(path, Checkpoint(config, weights))


def _port_weights() -> dict[str, torch.Tensor]:
    """Return weights that look like published ones of too few layers: the reader goes as far as their shapes."""
    return {"body_models.0.body.0.weight": torch.zeros(64, 3, 5, 5), "body_models.0.body.0.bias": torch.zeros(64)}
