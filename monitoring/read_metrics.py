"""Metrics that are read at each scrape, where nobody counts: what they are called."""

from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True)
class ReadMetric:
    """`counter`: it only grows (its name has no _total here; the page adds it)."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    counter: bool = False

    def family(self) -> Family:
        """A new family to put samples into."""
        kind: type[Family] = CounterMetricFamily if self.counter else GaugeMetricFamily
        return kind(self.name, self.text, labels=self.labels)
