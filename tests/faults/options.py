"""Every number that can be given: below its bound, at it, above it, and what is no number of any use."""

# ruff: noqa: E501  # a case is a line of a table

from collections.abc import Iterable

from faults.runner import Case, Sandbox

__all__ = ["CASES"]

_TAKES = {
    "make": ("clip.mkv",), "shake": ("photo0.png",), "train": ("shards",), "deblur": ("photo0.png", "tiny.safetensors"),
    "calibrate-crf": tuple(f"bracket{number}.png" for number in range(5)), "audit": ("shards",), "demo": (),
    "onnx": ("tiny.safetensors",), "train photos": ("photos",),
}  # fmt: skip
_BASE = {
    "make": "make clip.mkv",
    "shake": "shake photo0.png",
    "train": "train shards --network lite-tiny --device cpu --steps 1 --patch 32 --workers 0 -o run",
    "train photos": "train photos --network lite-tiny --device cpu --steps 1 --patch 32 --workers 0 -o run",
    "deblur": "deblur photo0.png --checkpoint tiny.safetensors --device cpu -o out.png",
    "calibrate-crf": "calibrate-crf bracket0.png bracket1.png bracket2.png bracket3.png bracket4.png",
    "audit": "audit train=shards test=shards",
    "demo": "demo",
    "onnx": "onnx --checkpoint tiny.safetensors -o out.onnx",
}
_NONE = "-1 nan inf 1e400 none"  # no count
_REAL = "-1 nan inf none"
# What must be refused: command, option, values.
_REFUSED = {
    "make": {
        "--window": "0 -1 2 8 1025 7-5 7-12 nan 1e3 seven 99999999999999999999", "--stride": f"0 {_NONE}",
        "--exposure": "0s -1s nans infs 1/0s 1e9s -", "--shutter-angle": f"0 361 {_REAL}",
        "--output-fps": f"0 1e12 {_REAL}", "--source-fps": f"0 1e12 {_REAL}", "--interpolate": f"1025 {_NONE}",
        "--min-motion": _REAL, "--max-ghost": _REAL, "--min-sharpness": f"1.1 {_REAL}",
        "--resize": "0x0 15x16 1x0 7 -1x5 640 640x nan", "--seed": f"18446744073709551616 {_NONE}",
        "--jobs": "-2 1025 nan many", "--part": "0/1 2/1 1/0 -1/2 1 a/b 1/99999999", "--crf": "gamma:0 gamma:nan gamma:-1 gamma:99 none",
        "--highlights": "-1 nan 2-1 inf none", "--noise": "iso:0 iso:-1 iso:nan iso:9-1 iso: none",
        "--jpeg": "0 -1 101 nan 90-50 none", "--split": "train:-1 train:nan other:1 train train:0.5,train:0.5",
        "--codec": "gzip", "--store": "light", "--backend": "spark", "--scheduler": "tcp://127.0.0.1:9",
    },
    "shake": {
        "--per-photo": f"0 {_NONE}", "--still": f"1.1 {_REAL}", "--size": "0x0 7 -1x5", "--blur-px": "0 -1 nan 9-2 inf 1e9 none",
        "--exposure": "0 -1 nan 2-1 inf 1e9 none", "--readout": "-1 nan inf 2-1 none", "--layers": "0 -1 nan 3-1 99999 none",
        "--focal-px": f"0 {_REAL}", "--seed": _NONE, "--jobs": "-2 1025",
    },
    "train": {
        "--steps": f"0 {_NONE}", "--minutes": f"0 {_REAL}", "--patch": f"0 {_NONE} 18 1000000", "--batch": f"0 {_NONE}",
        "--accumulate": f"0 {_NONE}", "--learning-rate": f"0 {_REAL}", "--clip-norm": f"0 {_REAL}", "--ema": f"1 1.1 {_REAL}",
        "--coarse-weight": _REAL, "--fft-weight": _REAL, "--validation-fraction": f"1 {_REAL}", "--validation-pairs": _NONE,
        "--validation-patch": f"0 {_NONE}", "--save-minutes": f"0 {_REAL}", "--seed": _NONE, "--workers": _NONE,
        "--network": "resnet", "--optimizer": "sgd",
    },
    "train photos": {
        "--online": "still=2 still=nan still=-1 blur_px=nan blur_px=0 noise=iso:0 jpeg=101 jpeg= more=1 still exposure_seconds=-1",
    },
    "deblur": {"--tile": f"0 1 {_NONE}", "--max-pixels": f"0 {_NONE}", "--suffix": "a/b"},
    "calibrate-crf": {"--exposures": "1,2,3,4 1,2,3,4,nan 1,2,3,4,0 1,2,3,4,-1 1,1,1,1,1 1,2,3,4,inf a,b,c,d,e 1/0,1,2,3,4", "--method": "best"},
    "audit": {"--min-gap": _REAL},
    "demo": {"--minutes": f"0 1e9 {_REAL}", "--seconds": f"0 1e9 {_REAL}", "--seed": f"9223372036854775808 {_NONE}"},
}  # fmt: skip
# What this machine does not have.
_MISSING = {"train": {"--device": "tpu cuda:x"}, "deblur": {"--device": "tpu cuda:99"}}
# What must be taken, at the bound.
_TAKEN = {
    "make": {
        "--window": "1 23", "--stride": "1 1000000", "--exposure": "1/80s 20ms", "--resize": "32x24 64x48", "--seed": "0 9223372036854775807",
        "--part": "1/1", "--split": "train:1", "--min-motion": "0", "--min-sharpness": "0", "--max-ghost": "255",
    },
    "shake": {"--per-photo": "1", "--still": "0 1", "--layers": "1", "--readout": "0", "--seed": "0"},
    "deblur": {"--max-pixels": "6144"},
}  # fmt: skip


def _cases(table: dict[str, dict[str, str]], code: int) -> Iterable[Case]:
    for command, options in table.items():
        for option, values in options.items():
            for value in values.split():
                yield _case(command, option, value, code)


def _case(command: str, option: str, value: str, code: int) -> Case:
    def prepare(sandbox: Sandbox) -> None:
        sandbox.take(*_TAKES[command])

    words = (*_BASE[command].split(), option, value)
    name = option.removeprefix("--")
    # A message says what it is about: the option, or what is set by it, or the value.
    words_of_it = (name[:5], name.replace("-", "[ _-]"), _escaped(value), _escaped(value.split("=", maxsplit=1)[0]))
    message = f"(?i){'|'.join(words_of_it)}" if code else ""
    writes = ("shards/*", "out.png") if not code else ()
    return Case(
        "option", f"{command} {option} {value}", words, code, message, prepare, writes, max_lines=2 if code else 6
    )


def _escaped(value: str) -> str:
    return "".join(f"\\{letter}" if not letter.isalnum() else letter for letter in value)


CASES = (*_cases(_REFUSED, 2), *_cases(_MISSING, 5), *_cases(_TAKEN, 0))
