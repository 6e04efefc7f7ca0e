"""Every system by its name, which is what params.yaml's `system` may be."""

from stages.systems.cadf import CrossAttentionFusion
from stages.systems.contract import System
from stages.systems.fdan import Fdan
from stages.systems.inca import IterativeNca
from stages.systems.knn import NearestNeighbours
from stages.systems.linear_probe import Probe
from stages.systems.majority import Majority
from stages.systems.query_tokens import EmotionQueries
from stages.systems.sdt import SelfDistillation
from stages.systems.tf_mix import Mixture

SYSTEMS: dict[str, System] = {
    "fdan": Fdan(),
    "majority": Majority(),
    "linear_probe": Probe(),
    "knn": NearestNeighbours(),
    "inca": IterativeNca(),
    "tf_mix": Mixture(),
    "query_tokens": EmotionQueries(),
    "cadf": CrossAttentionFusion(),
    "sdt": SelfDistillation(),
}
