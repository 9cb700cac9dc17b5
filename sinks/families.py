"""Families of Prometheus samples, and the page they make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # OpenMetrics forbids a gauge named _total

Samples = Iterable[tuple[tuple[str, ...], float]]


def gauge(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    """Published as `name`_total."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    limits: Sequence[float],
    samples: Iterable[tuple[tuple[str, ...], Sequence[int], float]],
) -> Metric:
    """samples: labels, how many fell below each of `limits` and not below the one before (and above all), their sum."""
    family = HistogramMetricFamily(name, text, labels=labels)
    names = [*map(str, limits), "+Inf"]
    for values, counts, total in samples:
        family.add_metric(values, list(zip(names, accumulate(counts), strict=True)), total)
    return family


def page(*collectors: Collector) -> bytes:
    """The text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)
