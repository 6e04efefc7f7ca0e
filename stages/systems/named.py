"""Every system by its name, which is what params.yaml's `system` may be."""

from typing import get_args

from stages.runtime.params import FineTunedNetwork
from stages.systems.cadf import CrossAttentionFusion
from stages.systems.contract import System
from stages.systems.fdan import Fdan
from stages.systems.finetuned import FineTuning
from stages.systems.gm_tcnet import GatedConvolutions
from stages.systems.inca import IterativeNca
from stages.systems.knn import NearestNeighbours
from stages.systems.linear_probe import Probe
from stages.systems.majority import Majority
from stages.systems.query_tokens import EmotionQueries
from stages.systems.sdt import SelfDistillation
from stages.systems.tf_mix import Mixture
from stages.systems.tim_net import TemporalAttention

SYSTEMS: dict[str, System] = {
    "fdan": Fdan(),
    "majority": Majority(),
    "linear_probe": Probe(),
    "knn": NearestNeighbours(),
    **{name: FineTuning(name) for name in get_args(FineTunedNetwork)},
    "gm_tcnet": GatedConvolutions(),
    "tim_net": TemporalAttention(),
    "inca": IterativeNca(),
    "tf_mix": Mixture(),
    "query_tokens": EmotionQueries(),
    "cadf": CrossAttentionFusion(),
    "sdt": SelfDistillation(),
}
