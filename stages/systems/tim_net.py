"""TIM-Net: temporal-aware blocks over MFCCs in both directions, fused over their time scales.

J. Ye, X. Wen, Y. Wei, Y. Xu, K. Liu, H. Shan, "Temporal modeling matters: a novel temporal
emotional modeling approach for speech emotion recognition", ICASSP 2023 (arXiv 2211.08233).

The paper's: a 1 x 1 convolution and eight temporal-aware blocks (ten for IEMOCAP), forwards and
backwards in time. A block multiplies its input by a sigmoid of twice a causal convolution with a
kernel of 2, dilated by 2^(j-1), batch norm, ReLU and spatial dropout. What both directions make of
it after block j is averaged over time; the sum of these with learned weights is classified.

Known of the published code, which is under the GPL and of which nothing is copied here: Adam with a
rate of 0.001 and betas 0.93 and 0.98; batches of 64; 500 epochs; dropout 0.1; labels smoothed by
0.1; 39 MFCCs as GM-TCNet's, of 4.0 to 14.1 s by corpus (SAVEE 5.9, RAVDESS 5.0, EMO-DB 4.35). It
first kept the best epoch on the test fold; since an issue (16) it reports the last, 79.4 % on SAVEE
in place of 87.7 %. Folds share speakers.

Ours, where neither was followed line by line: each direction has parameters of its own, its 1 x 1
convolution too, 104,496 in all for seven emotions; the fusion begins as a mean. As in Keras, a
ReLU's output enters the sigmoid, so that no attention is below a half. The running means of batch
norms follow PyTorch's defaults: with Keras's, a tenth as quick, those of few batches lag behind.
The epoch is chosen as for all systems here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.runtime.params import TimNet
from stages.systems.contract import MELS
from stages.systems.mfcc import COEFFICIENTS, CausalConv1d, MfccSystem, keras_initial, of_mfccs
from stages.systems.neural import Batch


class TemporalAwareBlock(nn.Module):
    """Attention of each channel and frame, learned from those before it."""

    def __init__(self, dilation: int, dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                CausalConv1d(COEFFICIENTS, COEFFICIENTS, 2, dilation=dilation),
                nn.BatchNorm1d(COEFFICIENTS, eps=1e-3),
                nn.ReLU(),
                nn.Dropout1d(dropout),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape [n, 39, T]."""
        return x * self.layers(x).sigmoid()


class Direction(nn.Module):
    """What one direction hears at every time scale."""

    def __init__(self, blocks: int, dropout: float):
        super().__init__()
        self.first = CausalConv1d(COEFFICIENTS, COEFFICIENTS, 1)
        self.blocks = nn.ModuleList(TemporalAwareBlock(2**j, dropout) for j in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """From [n, 39, T] in the order of this direction to means over time, [n, blocks, 39]."""
        x = self.first(x)
        scales = []
        for block in self.blocks:
            x = block(x)
            scales.append(x.mean(2))
        return torch.stack(scales, 1)


class TIMNet(nn.Module):
    """MFCCs [n, T, 39] to logits [n, C]."""

    def __init__(self, classes: int, blocks: int, dropout: float):
        super().__init__()
        self.past, self.future = Direction(blocks, dropout), Direction(blocks, dropout)
        self.fusion = nn.Parameter(torch.full((blocks,), 1 / blocks))
        self.last = nn.Linear(COEFFICIENTS, classes)
        keras_initial(self)

    def forward(self, batch: Batch) -> Tensor:
        """Logits; all clips are of one length."""
        x = batch[MELS].x.transpose(1, 2)
        return self.last(self.fusion @ (self.past(x) + self.future(x.flip(2))))


class TemporalAttention(MfccSystem):
    """TIM-Net as params.yaml has it."""

    section = "tim_net"
    schema = of_mfccs(TimNet)

    def network(self, dims: Mapping[str, int], classes: int, settings: Mapping[str, Any]) -> TIMNet:
        """TIM-Net."""
        return TIMNet(classes, settings["blocks"], settings["dropout"])

    def loss(self, logits: Tensor, y: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """Cross-entropy of smoothed labels; those that are not trained on have no part in them."""
        known = logits[0] > torch.finfo(logits.dtype).min
        places = known.cumsum(0) - 1
        return cross_entropy(
            logits[:, known], places[y], label_smoothing=settings["label_smoothing"]
        )
