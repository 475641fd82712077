"""Tasks side by side: in this process, in worker processes of this machine, or on a Dask cluster."""

from blursynth.engine.running import BACKENDS, Engine, Failure, run_tasks, take_part

__all__ = ["BACKENDS", "Engine", "Failure", "run_tasks", "take_part"]
