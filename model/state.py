"""What changes while training: begun anew, taken up from a checkpoint, and made into one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blursynth.errors import CheckpointError, SettingsError
from blursynth.files import printable

from .adversarial import Critic
from .bundled import InitialWeights
from .checkpoint import Checkpoint, load_checkpoint, restore_network
from .ema import Average
from .networks import Network, build_network, network_config, takes_weights_of
from .optimizers import build_optimizer, load_optimizer, optimizer_tensors
from .own import OwnConfig, as_network
from .settings import FREE_ON_RESUME, TrainConfig, stages_of

__all__ = ["RunState", "begin_run", "buffers_kept", "resume_run"]

_PROGRESS = ("data_sha256", "step", "samples", "seconds", "best_psnr", "best", "skipped", "rollbacks")


@dataclass(slots=True)
class RunState:
    """What changes while training.

    ``own`` says what a network of the caller's own is called, ``parts`` in how many parts a batch is worked out; the
    rest of the numbers goes into checkpoints, and so do ``best``, the step and the scores of the best checkpoint, and
    ``init``, name and SHA-256 of the weights that it began with, if those were not random.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    average: Average | None
    critic: Critic | None
    data_sha256: str
    own: OwnConfig | None = None
    parts: int = 1
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    best_psnr: float | None = None
    best: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, str] = field(default_factory=dict)
    skipped: int = 0
    rollbacks: int = 0

    @property
    def best_network(self) -> Network:
        """The network to score and to deblur with: that of the running mean, if there is one."""
        return self.average.network if self.average else self.network

    @property
    def players(self) -> Iterator[tuple[torch.nn.Module, torch.optim.Optimizer]]:
        """What learns, and by which optimiser."""
        yield self.network, self.optimizer
        if self.critic:
            yield self.critic.network, self.critic.optimizer

    @property
    def shared(self) -> list[Tensor]:
        """What has to be the same in all processes: of everything that learns and the running mean, in no copies."""
        networks = (*(network for network, _ in self.players), self.best_network)
        return [tensor for network in networks for tensor in network.state_dict().values()]

    def tensors(self) -> dict[str, Any]:
        """Return everything that learns, by the fields of a checkpoint: names and tensors, not copied."""
        return {
            "weights": self.network.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer, self.network),
            "average": self.average.tensors() if self.average else {},
            "discriminator": self.critic.tensors() if self.critic else {},
        }

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what `tensors` returned.

        Raises
        ------
        KeyError
            If something is missing.
        """
        self.network.load_state_dict(tensors["weights"])
        load_optimizer(self.optimizer, self.network, tensors["optimizer"])
        if self.average:
            self.average.load(tensors["average"])
        if self.critic:
            self.critic.load(tensors["discriminator"])

    def to_resume(self, config: TrainConfig, scores: Mapping[str, Any]) -> Checkpoint:
        """Return the checkpoint that a run can go on from."""
        return Checkpoint(**self._described(config, scores), **self.tensors())

    def to_use(self, config: TrainConfig, scores: Mapping[str, Any]) -> Checkpoint:
        """Return the checkpoint to deblur with."""
        return Checkpoint(**self._described(config, scores), weights=self.best_network.state_dict())

    def _described(self, config: TrainConfig, scores: Mapping[str, Any]) -> dict[str, Any]:
        progress = {name: getattr(self, name) for name in (*_PROGRESS, "init")}
        training = asdict(config) | ({"network": self.own.name} if self.own else {})
        network = self.own or self.network.config
        return {"network": network, "training": training, "progress": progress, "scores": scores}


def begin_run(
    config: TrainConfig,
    device: torch.device,
    data_sha256: str,
    *,
    own: nn.Module | None = None,
    initial: InitialWeights | None = None,
) -> RunState:
    """Return the state of a run before its first step.

    The seed decides the weights, unless there are ``initial`` ones, or a network of one's ``own``.

    Raises
    ------
    SettingsError
        If those are of another network than ``config.network``, or one's own cannot be trained.
    """
    if own is not None:
        network, name = as_network(own, max(stage.patch for stage in stages_of(config)))
        state = _state(network, config, device, data_sha256)
        state.own = name
        return state
    wanted = network_config(config.network)
    if initial is not None:
        if not takes_weights_of(initial.network.config, wanted):
            told = printable(config.init or initial.name)
            raise SettingsError(f"init {told}: not the weights of a {config.network}; choose their --network")
        state = _state(initial.network, config, device, data_sha256)
        state.init = {"name": initial.name, "sha256": initial.sha256}
        return state
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(wanted)
    return _state(network, config, device, data_sha256)


def _state(network: Network, config: TrainConfig, device: torch.device, data_sha256: str) -> RunState:
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(network, config.optimizer, config.learning_rate)
    average = Average(network, config.ema) if config.ema else None
    critic = None
    if config.adversarial:
        critic = Critic(seed=config.seed, learning_rate=config.learning_rate, device=device)
    return RunState(network, optimizer, average, critic, data_sha256)


def buffers_kept(network: nn.Module) -> Callable[[], None]:
    """Copy what calling a network changes, such as the statistics of a batch norm; the result puts it back."""
    buffers = list(network.buffers())
    before = [each.clone() for each in buffers]

    def put_back() -> None:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)

    return put_back


def resume_run(path: Path, config: TrainConfig, device: torch.device, data_sha256: str) -> RunState:
    """Return the state that a checkpoint holds.

    Raises
    ------
    SettingsError
        If the settings or the pairs are others than the run was begun with.
    CheckpointError
        If the checkpoint is damaged or lacks what a run needs.
    """
    checkpoint = load_checkpoint(path)
    for name, value in asdict(config).items():
        before = checkpoint.training.get(name)
        if name not in FREE_ON_RESUME and before != value:
            raise SettingsError(f"{printable(path.parent)}: was begun with {name} {before}, not {value}")
    state = _state(restore_network(checkpoint), config, device, data_sha256)
    try:
        state.load({kind: getattr(checkpoint, kind) for kind in state.tensors()})
        for name in _PROGRESS:
            setattr(state, name, checkpoint.progress[name])
        state.init = checkpoint.progress.get("init", {})  # which the first versions did not write
    except (KeyError, RuntimeError) as error:
        what = str(error).splitlines()[0]
        raise CheckpointError(f"{printable(path)}: {what} is missing; no run can go on from it") from error
    if state.data_sha256 != data_sha256:
        raise SettingsError(f"{printable(path.parent)}: was begun with other pairs; train them in a new run")
    return state
