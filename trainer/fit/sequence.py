"""Fits the temporal net: a small GRU over the last ten moments that forecasts valence, arousal and
congruence of now."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.plan import Net
from worker.features.schema import SEQUENCE_LENGTH
from worker.features.sequence import NOW, STEPS, Sequences

Floats = NDArray[np.float64]
OUTPUTS = 3


class Forecaster(nn.Module):
    """GRU (Cho et al. 2014) unrolled over the steps, so that it becomes plain matrix products in any IR;
    masked steps keep the state."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.seen = nn.Linear(len(STEPS), 3 * hidden)
        self.kept = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden + len(NOW), OUTPUTS)
        self.hidden = hidden

    def forward(self, steps: Tensor, mask: Tensor, now: Tensor) -> Tensor:
        """steps [B, 10, F], mask [B, 10], now [B, K] -> [B, 3] in 0-1."""
        size = self.hidden
        seen = self.seen(steps)
        state = torch.zeros_like(seen[:, 0, :size])
        for at in range(SEQUENCE_LENGTH):
            kept = self.kept(state)
            open_ = torch.sigmoid(seen[:, at, : 2 * size] + kept[:, : 2 * size])
            fresh = torch.tanh(seen[:, at, 2 * size :] + open_[:, :size] * kept[:, 2 * size :])
            state = state + mask[:, at : at + 1] * open_[:, size:] * (fresh - state)
        return torch.sigmoid(self.out(torch.cat([state, now], dim=1)))


def fit(sequences: Sequences, target: Floats, weight: Floats, *, plan: Net, seed: int) -> Forecaster:
    """Weighted squared error of `target` [n, 3] (NaN: unlabelled) with `weight` [n, 3]; AdamW, one thread,
    fixed order by seed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = Forecaster(plan.hidden)
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    labelled = np.isfinite(target)
    goal = torch.from_numpy(np.nan_to_num(target, nan=0.5).astype(np.float32))
    mass = np.where(labelled, weight, 0.0)
    share = torch.from_numpy(
        (mass / np.maximum(mass.sum(axis=0) / labelled.sum(axis=0).clip(1), 1e-12)).astype(np.float32)
    )
    steps, mask, now = (torch.from_numpy(part) for part in (sequences.steps, sequences.mask, sequences.now))
    order = np.random.default_rng(seed)
    total = plan.epochs * -(-len(goal) // plan.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=plan.learning_rate, total_steps=total)
    for _ in range(plan.epochs):
        shuffled = torch.from_numpy(order.permutation(len(goal)))
        for rows in torch.split(shuffled, plan.batch):
            off = net(steps[rows], mask[rows], now[rows]) - goal[rows]
            loss = (share[rows] * off**2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def predict(net: Forecaster, sequences: Sequences) -> Floats:
    """float64 [n, 3]: valence, arousal, congruence."""
    with torch.no_grad():
        parts = (torch.from_numpy(part) for part in (sequences.steps, sequences.mask, sequences.now))
        return cast(Floats, net(*parts).numpy().astype(np.float64))
