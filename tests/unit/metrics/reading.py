"""Reads pages of figures as Prometheus does."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def series(page: bytes) -> Series:
    """Every sample by its name and labels. Fails if one is there twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(page.decode("utf-8")):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(page: bytes, name: str, /, **labels: str) -> float | None:
    """Of the sample with exactly these labels; None if there is none."""
    return series(page).get((name, frozenset(labels.items())))


def families(page: bytes) -> set[str]:
    """Names as they are told to people: those of counters end in `_total`."""
    lines = page.decode("utf-8").splitlines()
    return {line.split(" ")[2] for line in lines if line.startswith("# TYPE ")}
