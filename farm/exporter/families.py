"""Samples from values."""

from monitoring.read_metrics import Family, ReadMetric


def single(metric: ReadMetric, value: float) -> Family:
    """Of a metric without labels."""
    return each(metric, {(): value})


def each(metric: ReadMetric, values: dict[tuple[str, ...], float]) -> Family:
    """A sample for each of its labels."""
    family = metric.family()
    for labels in sorted(values):
        family.add_metric(labels, values[labels])
    return family
