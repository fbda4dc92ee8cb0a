"""All metrics by name."""

from __future__ import annotations

from collections.abc import Iterable

from vividface_core.errors import InvalidOption
from vividface_core.metrics import fastervqa, fidelity, fvd, identity, landmarks, quality, temporal
from vividface_core.metrics.metric import Metric

MODULES = (fidelity, quality, identity, landmarks, temporal, fastervqa, fvd)
METRICS: dict[str, Metric] = {metric.name: metric for module in MODULES for metric in module.ENTRIES}


def choose(names: Iterable[str] | None, has_reference: bool) -> list[Metric]:
    """The metrics to measure: those named, or the usual ones; in the registry's order.

    Raises:
        InvalidOption: an unknown name, or a metric that needs a reference where there is none.
    """
    if names is None:
        return [metric for metric in METRICS.values() if metric.default and (has_reference or not _needs(metric))]
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in METRICS]
    if unknown:
        raise InvalidOption(f"There is no metric {', '.join(unknown)}; choose of {', '.join(METRICS)}.")
    chosen = [metric for metric in METRICS.values() if metric.name in wanted]
    if lost := [metric.name for metric in chosen if _needs(metric) and not has_reference]:
        raise InvalidOption(f"{', '.join(lost)} can't be measured without a reference; give one with --reference.")
    return chosen


def _needs(metric: Metric) -> bool:
    return metric.reference == "needed"
