"""Accuracies from scores. Legend: `N` videos, `K` classes."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch

from ops.running.engine import count_top_k

Z = 1.959964  # of the normal distribution, for 95 %


def wilson_interval(right: int, videos: int, z: float = Z) -> tuple[float, float]:
    """The 95 % interval, from 0 to 1, of a share of which `right` of `videos` are known (Wilson, JASA 22, 1927).

    z: of the normal distribution, for another than 95 %.
    """
    share, scale = right / videos, z * z / videos
    middle = (share + scale / 2) / (1 + scale)
    reach = z * math.sqrt(share * (1 - share) / videos + scale / (4 * videos)) / (1 + scale)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def mean_class_interval(right: np.ndarray, videos: np.ndarray, z: float = Z) -> tuple[float, float]:
    """The 95 % interval, from 0 to 1, of the mean over classes of their shares, `right` (K,) of `videos` (K,) > 0 each.

    The normal distribution's, with the variance of a mean over strata (Cochran, Sampling Techniques, 1977, chapter 5).
    A class whose videos are all right, or that has one, would have no variance: in it a class's share is taken for
    (right + 1) / (videos + 2). Of one class, where a normal distribution is far off, it is Wilson's.
    """
    if len(videos) == 1:
        return wilson_interval(int(right[0]), int(videos[0]), z)
    mean, share = (right / videos).mean(), (right + 1) / (videos + 2)
    reach = z * math.sqrt((share * (1 - share) / videos).sum()) / len(videos)
    return max(0.0, float(mean - reach)), min(1.0, float(mean + reach))


def accuracies(scores: torch.Tensor, labels: torch.Tensor) -> tuple[dict[str, float], np.ndarray]:
    """Top-1, top-5 and mean class accuracy in percent of scores (N, K), and the confusion counts (K, K).

    Of the confusion, a row is a true class, a column a predicted one. The mean class accuracy is over those
    classes that have videos.
    """
    from sklearn.metrics import confusion_matrix  # here, as it takes two seconds to import

    predictions = scores.argmax(dim=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A single label was found")  # of a data set of one class
        confusion = confusion_matrix(labels.numpy(), predictions.numpy(), labels=np.arange(scores.shape[1]))
    videos = confusion.sum(axis=1)
    per_class = np.diag(confusion)[videos > 0] / videos[videos > 0]
    return {
        "top1": 100 * int(count_top_k(scores, labels, 1)) / len(labels),
        "top5": 100 * int(count_top_k(scores, labels, 5)) / len(labels),
        "mean_class_accuracy": 100 * float(per_class.mean()),
    }, confusion
