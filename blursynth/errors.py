"""Every error that blursynth raises on purpose.

::

    BlursynthError            exit code 1: it failed while running
    ├── SettingsError         2: settings that make no sense, alone or together   (ValueError)
    ├── PartialError          3: some inputs failed, everything else is good
    ├── RefusedError          4: an input that is not what it should be
    │   ├── VideoError           a clip                                           (OSError)
    │   ├── PhotoError           a photograph                                     (OSError)
    │   ├── ShardError           a shard or a manifest                            (OSError)
    │   └── CheckpointError      a checkpoint                                     (OSError)
    └── MachineError          5: the machine says no                              (OSError)
        ├── OutputError          disk full, read-only, no permission
        └── DeviceError          a device or library that is not there

Each message is one line that names the file, the value and what to do. The command line prints it and exits with
``exit_code``; a program may catch either our class or the built-in beside it.
"""

from typing import ClassVar

__all__ = [
    "BlursynthError",
    "CheckpointError",
    "DeviceError",
    "MachineError",
    "OutputError",
    "PartialError",
    "PhotoError",
    "RefusedError",
    "SettingsError",
    "ShardError",
    "VideoError",
]


class BlursynthError(Exception):
    """Root of every deliberate error."""

    exit_code: ClassVar[int] = 1


class SettingsError(BlursynthError, ValueError):
    """Settings that make no sense, alone or together, or that differ from what the output already holds."""

    exit_code = 2


class PartialError(BlursynthError):
    """Some inputs failed or were damaged; what was written is good."""

    exit_code = 3


class RefusedError(BlursynthError):
    """An input is unreadable, damaged, unsafe or not what it claims to be."""

    exit_code = 4


class VideoError(RefusedError, OSError):
    """A clip that cannot be used."""


class PhotoError(RefusedError, OSError):
    """A photograph that cannot be used."""


class ShardError(RefusedError, OSError):
    """A shard or manifest that is damaged or of another schema."""


class CheckpointError(RefusedError, OSError):
    """A checkpoint that is damaged or not one of ours."""


class MachineError(BlursynthError, OSError):
    """The machine cannot do what was asked."""

    exit_code = 5


class OutputError(MachineError):
    """The disk is full, read-only or not ours."""


class DeviceError(MachineError):
    """A device or an optional library that was asked for is not there."""
