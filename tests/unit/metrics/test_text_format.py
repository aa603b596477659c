"""The page that we write is the one that the client library would write."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from danqing.metrics.text_format import text_of


def read(page: bytes) -> list[object]:
    return [
        (family.name, family.documentation, family.type, sample.name, sorted(sample.labels.items()), repr(sample.value))
        for family in text_string_to_metric_families(page.decode("utf-8"))
        for sample in family.samples
        if not family.name.endswith("_created")
    ]


def test_it_says_the_same() -> None:
    registry = CollectorRegistry()
    counter = Counter("c", "Counts.", ("text",), registry=registry)
    for text in ("", "plain", 'a"b\\c\nd', "丹青", "{}=,"):
        counter.labels(text).inc(1e22)
    gauge = Gauge("g", "A gauge.", ("of",), registry=registry)
    for of, value in (("up", math.inf), ("down", -math.inf), ("none", math.nan), ("whole", 3), ("part", 0.1)):
        gauge.labels(of).set(value)
    Gauge("plain", "Without labels.", registry=registry).set(-2)
    Histogram("h_seconds", "Times.", ("of",), buckets=(0.5, 1, 10), registry=registry).labels("x").observe(2)

    ours, theirs = text_of(registry.collect()), generate_latest(registry)

    assert read(ours) == read(theirs)
    assert b"_created" not in ours
    assert ours.endswith(b"\n")
