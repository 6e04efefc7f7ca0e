"""K nearest neighbours: the training utterances whose features are most alike vote.

A floor without training, which shows how far the features alone keep the emotions apart. T. Cover,
P. Hart, "Nearest neighbor pattern classification", IEEE Trans. Inf. Theory 13, 1967; votes are
weighted by 1 / distance, as in scikit-learn's KNeighborsClassifier. What is as near as can be, at a
distance of 0, outvotes all else.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot

from stages.corpora.emotions import EMOTIONS
from stages.runtime.params import Knn
from stages.systems.contract import Layout, Samples
from stages.systems.pooled import PooledSystem, Training


class NearestNeighbours(PooledSystem):
    """It remembers the training part; k and the metric are set, and nothing is chosen."""

    section = "knn"
    schema = Knn

    def fit(
        self,
        training: Training,
        validation: Samples | None,
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The standardised training utterances, and the emotion that each votes for."""
        x, y = training.samples
        return {"neighbours": x, "votes": one_hot(y, len(EMOTIONS)).float()}, {}

    def predict(
        self, tensors: Mapping[str, Tensor], x: Tensor, settings: Mapping[str, Any]
    ) -> Tensor:
        """The weighted shares of the votes of the k nearest; of equally near ones the first."""
        neighbours = tensors["neighbours"].double()
        if settings["metric"] == "cosine":
            distances = (1 - cosine_similarity(neighbours, x[None])).clamp(min=0)
        else:
            distances = (neighbours - x).norm(dim=1)
        # Rounding must not make a twin a mere neighbour.
        distances, order = distances.where(distances > 1e-12, 0).sort(stable=True)
        nearest, voters = distances[: settings["k"]], order[: settings["k"]]
        weights = (nearest == 0).double() if nearest[0] == 0 else 1 / nearest
        return weights @ tensors["votes"][voters].double() / weights.sum()

    def shapes(self, classes: int, dim: int) -> Layout:
        """As many neighbours as there were training utterances."""
        return {"neighbours": (None, dim), "votes": (None, classes)}
