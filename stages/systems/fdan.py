"""FDAN as a system: what the room stages/fdan, which is all of it, is asked by the stages.

It learns by epochs, all replicas at once (`stages.fdan.replicas`): side by side on CPUs, stacked on
a GPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictBool, create_model
from torch import Tensor, nn

from stages.corpora.emotions import EMOTIONS
from stages.fdan.inference import Bank, SpeechClassifier
from stages.fdan.network import FDAN
from stages.fdan.replicas import train_all
from stages.fdan.training import Settings
from stages.runtime.params import Lmmd, Network, Params
from stages.systems.contract import (
    ACOUSTIC,
    VISUAL,
    Clip,
    Layout,
    Live,
    Standardizer,
    System,
    Task,
    Trained,
    median_epoch,
)


class _Network(Network):
    cross_attention: StrictBool
    acoustic_only: StrictBool


class _Lmmd(Lmmd):
    # A number of classes, as the stage train writes it for fewer than all, stands for "all".
    classes: Literal["all", "common"] | Annotated[int, Field(ge=2, le=len(EMOTIONS))]  # type: ignore[assignment]


def _settings_model() -> type[BaseModel]:
    """`Settings` with the ranges that params.yaml has for those of the same name."""
    known: dict[str, Any] = {name: (kind, ...) for name, kind in get_type_hints(Settings).items()}
    for field in fields(Settings):
        if info := Params.model_fields.get(field.name):
            known[field.name] = (info.annotation, info)
    known["network"] = (_Network, ...)
    known["lmmd"] = (_Lmmd, ...)
    known["classes"] = (int, Field(ge=2, le=len(EMOTIONS)))
    known["select"] = (Literal["last", "uar", "war"], ...)
    return create_model("_Settings", __config__=ConfigDict(strict=True), **known)


class Fdan(System):
    """Faces and voices, or voices alone where `acoustic_only` says so."""

    schema = _settings_model()
    chooses = ("epoch",)
    by_epochs = True
    may_lack = True

    def settings(self, params: Params, classes: Sequence[str]) -> dict[str, Any]:
        """The symbols of the paper, which stand at the top of params.yaml."""
        lmmd = params.lmmd.model_dump()
        if lmmd["classes"] == "all" and len(classes) < len(EMOTIONS):
            lmmd["classes"] = len(classes)
        flags = {
            "acoustic_only": params.acoustic_only,
            "cross_attention": params.cross_attention,
        }
        return super().settings(params, classes) | {
            "classes": len(EMOTIONS),
            "alpha": params.alpha,
            "batch_size": params.batch_size,
            "epochs": params.epochs,
            "learning_rate": params.learning_rate,
            "momentum": params.momentum,
            "weight_decay": params.weight_decay,
            "network": params.network.model_dump() | flags,
            "lmmd": lmmd,
            "inference": params.inference,
        }

    def views(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Faces and voices are samples of their own."""
        return (ACOUSTIC,) if settings["network"]["acoustic_only"] else (ACOUSTIC, VISUAL)

    def tested_on(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The voice alone, as in the paper."""
        return (ACOUSTIC,)

    def train_all(
        self, task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
    ) -> list[Trained]:
        """Train every fold with every seed, in this order."""
        task = task._replace(settings=Settings(**task.settings))
        return train_all(task, folds, seeds, label, live)

    def settle(
        self, settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
    ) -> dict[str, Any]:
        """With the median of the epochs that the folds kept, the last of which is kept."""
        return median_epoch(settings, chosen)

    def layout(self, facts: Mapping[str, Any]) -> Layout:
        """The network, the standardizers and, where a voice attends to one, the bank."""
        visual_dim, acoustic_dim = facts["dims"].get(VISUAL, 0), facts["dims"][ACOUSTIC]
        settings = facts["settings"]
        with torch.device("meta"):  # which takes no memory, whatever the description says
            network = _network(facts)
        layout: Layout = {
            f"network.{name}": tuple(value.shape) for name, value in network.state_dict().items()
        }
        layout |= {"acoustic_mean": (acoustic_dim,), "acoustic_std": (acoustic_dim,)}
        if VISUAL in self.modalities(settings):
            layout |= {"visual_mean": (visual_dim,), "visual_std": (visual_dim,)}
            if settings["network"]["cross_attention"] and settings["inference"] != "none":
                layout |= {"bank_x_v": (None, visual_dim), "bank_x_a": (None, acoustic_dim)}
        return layout

    def restore(self, facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> SpeechClassifier:
        """The classifier with a state; RuntimeError or KeyError where they do not fit."""
        network = _network(facts)
        # Where in its file a tensor lies must not decide over the last bits of sums.
        state = {name: value.clone() for name, value in state.items()}
        visual = bank = None
        if "visual_mean" in state:
            visual = Standardizer(state["visual_mean"], state["visual_std"])
        if "bank_x_v" in state:
            bank = Bank(state["bank_x_v"], state["bank_x_a"])
        acoustic = Standardizer(state["acoustic_mean"], state["acoustic_std"])
        classifier = SpeechClassifier(network, acoustic, visual, bank)
        classifier.load_state_dict(state)
        return classifier.eval()

    def probabilities(self, classifier: nn.Module, clips: Sequence[Clip]) -> Tensor:
        """Of a voice that attends to the bank, or of what is said of a clip by its own faces."""
        assert isinstance(classifier, SpeechClassifier)
        found = torch.empty(len(clips), len(EMOTIONS))
        heard = [i for i, clip in enumerate(clips) if VISUAL not in clip]
        if heard:
            found[heard] = classifier(torch.cat([clips[i][ACOUSTIC] for i in heard]))
        for i, clip in enumerate(clips):
            if VISUAL in clip:
                found[i] = classifier.with_faces(clip[VISUAL], clip.get(ACOUSTIC))
        return found


def _network(facts: Mapping[str, Any]) -> FDAN:
    return FDAN(
        facts["dims"].get(VISUAL, 0),
        facts["dims"][ACOUSTIC],
        len(EMOTIONS),
        **facts["settings"]["network"],
    )
