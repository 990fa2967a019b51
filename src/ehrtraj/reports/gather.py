"""Everything that the report of a dataset contains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ehrtraj.reports.applied import RuleFacts, rule_facts
from ehrtraj.reports.files import DatasetFiles
from ehrtraj.reports.flow import Flow, draw_flow
from ehrtraj.reports.histogram import Drawing, draw_histogram
from ehrtraj.reports.items import ItemFacts, item_facts, nameable_codes
from ehrtraj.reports.kinds import KindFacts, SplitFacts, all_events, all_patients, kind_facts, split_facts
from ehrtraj.reports.ledger import LedgerFacts, ledger_facts
from ehrtraj.reports.masking import NOT_SHOWN, Masking, Shown

_DIGITS_OF_DIGEST = 12
_TO_LOOK_AT = {
    "unit_unlisted": "have a unit that no rule knows, and were not converted",
    "sentinel_value": "had a number that stands for a missing value, which is null now",
    "impossible_value": "had an impossible number, which is null now",
}
"""Rules whose effect a reader should know before using the numbers."""
_OF_CONCEPTS = (
    "The dataset includes concepts as events. Their rows, in the tables concepts/..., count as rows read, but were "
    "computed from other events of the dataset and are not in the release. No rule changed them. A row without a value "
    "was left out."
)
_CREDENTIALED = "credentialed"


@dataclass(frozen=True)
class Report:
    """The content of the report of a dataset.

    Attributes:
        private: whether it contains exact counts and examples.
        card: names and values of the dataset card.
        patients: number of patients.
        events: number of events.
        codes: number of codes.
        warnings: what the user must know before using the dataset.
        to_look_at: further sentences about numbers, each with a count and the words after it.
        notes: what the user should know.
        ledger: what became of every row.
        flow: the same as a diagram.
        rules: what each rule did.
        items: the most common numeric items, with their histograms.
        kinds: event types.
        splits: splits of the patients.
        settings: settings that change the data, with their values.
        license: licence of the data.
        is_credentialed: whether the licence forbids sharing the data.
        is_synthetic: whether the patients are invented.
        location: where the release is published.
    """

    private: bool
    card: tuple[tuple[str, str], ...]
    patients: Shown
    events: Shown
    codes: int
    warnings: tuple[str, ...]
    to_look_at: tuple[tuple[Shown, str], ...]
    notes: tuple[str, ...]
    ledger: LedgerFacts
    flow: Flow
    rules: tuple[RuleFacts, ...]
    items: tuple[tuple[ItemFacts, Drawing | None], ...]
    kinds: KindFacts
    splits: tuple[SplitFacts, ...]
    settings: tuple[tuple[str, str], ...]
    license: str
    is_credentialed: bool
    is_synthetic: bool
    location: str


def gather_report(files: DatasetFiles, *, with_examples: bool) -> Report:
    """Read what the report of a dataset contains.

    Args:
        files: files of the dataset.
        with_examples: whether the report is for private use: with examples and exact counts.
    """
    masking = Masking(exact=with_examples)
    manifest, about = files.manifest, files.about
    nameable = nameable_codes(files, masking)
    ledger = ledger_facts(files.ledger, manifest.get("files", {}), masking)
    rules = rule_facts(files, nameable, masking, with_examples=with_examples)
    license_name = str(about.get("license", ""))
    secrets = [str(one) for one in (manifest.get("subjects") or {}).get("missing", ())]
    return Report(
        private=with_examples,
        card=tuple(_card(files)),
        patients=all_patients(files, masking),
        events=all_events(files, masking),
        codes=files.codes.num_rows,
        warnings=tuple(_warnings(manifest, masking, secrets)),
        to_look_at=tuple(_to_look_at(rules, ledger)),
        notes=tuple(_notes(manifest, masking, secrets)),
        ledger=ledger,
        flow=draw_flow(ledger),
        rules=rules,
        items=tuple(
            (item, draw_histogram(item.bars) if item.bars is not None else None)
            for item in item_facts(files, nameable, masking)
        ),
        kinds=kind_facts(files, masking),
        splits=split_facts(files, masking),
        settings=tuple(_settings(manifest, masking)),
        license=license_name,
        is_credentialed=_CREDENTIALED in license_name.lower(),
        is_synthetic=str(manifest["release"]["version"]).startswith("synthetic"),
        location=str(about.get("location_uri", "")),
    )


def _card(files: DatasetFiles) -> Iterator[tuple[str, str]]:
    manifest, about = files.manifest, files.about
    release, settings = manifest["release"], manifest["settings"]
    downloads = ", ".join(f"{name} {version}" for name, version in release.get("downloads", {}).items())
    clock = "when an event happened" if settings.get("clock") == "event" else "when an event became known"
    digests = [str(digest)[:_DIGITS_OF_DIGEST] for digest in manifest.get("fingerprint", {}).get("source", ())[1:]]
    yield "Dataset", str(manifest.get("trajectory_version", files.root.name))
    yield "Data", str(about.get("dataset_name", ""))
    yield "Release", str(release["version"])
    yield "Downloads", downloads
    yield "Column time", clock
    yield "Numbers", "standardised" if settings.get("standardise") else "as written in the source"
    yield "Written by", f"ehrtraj {about.get('etl_version', '')}, dataset format {manifest['format']}"
    if concepts := _concepts(manifest):
        yield "Concepts", ", ".join(concepts)
    yield "MEDS", str(about.get("meds_version", ""))
    yield "Recipes and rules", " / ".join(digests)
    yield "Built", str(about.get("created_at", ""))[:10]
    yield "Licence", str(about.get("license", ""))


def _warnings(manifest: dict[str, Any], masking: Masking, secrets: list[str]) -> Iterator[str]:
    yield from (masking.text(text, secrets) for text in manifest.get("warnings", ()))
    if unverified := manifest.get("unverified"):
        yield f"Not verified, because the tables that contain them were not read: {', '.join(unverified)}"


def _notes(manifest: dict[str, Any], masking: Masking, secrets: list[str]) -> Iterator[str]:
    yield from (masking.text(text, secrets) for text in manifest.get("notes", ()))
    if _concepts(manifest):
        yield _OF_CONCEPTS


def _concepts(manifest: dict[str, Any]) -> list[str]:
    """Return the names of the concepts that a dataset includes as events."""
    return sorted((manifest.get("concepts") or {}).get("events", {}))


def _to_look_at(rules: tuple[RuleFacts, ...], ledger: LedgerFacts) -> Iterator[tuple[Shown, str]]:
    if ledger.reasons:
        yield _some(ledger.total.rejected), "rows were rejected"
    for rule in rules:
        if rule.name in _TO_LOOK_AT:
            yield _some(rule.events), f"events {_TO_LOOK_AT[rule.name]} ({rule.name})"


def _some(count: Shown) -> Shown:
    """Return a count for a sentence."""
    return Shown("some", 0, masked=True) if count is NOT_SHOWN else count


def _settings(manifest: dict[str, Any], masking: Masking) -> Iterator[tuple[str, str]]:
    """Yield the settings that change the data. Files of the user are identified by the hash of their content."""
    for name, value in manifest.get("fingerprint", {}).get("settings", {}).items():
        is_count = name == "subjects" and str(value).isdecimal()
        yield name, masking.count(int(value)).text if is_count else _spelled(value)
    if vocabularies := manifest.get("vocabularies"):
        yield "vocabularies", ", ".join(vocabularies)
    if missing := manifest.get("missing_tables"):
        yield "missing tables", ", ".join(missing)


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "all"
    text = "all" if value is None else str(value)
    return text if len(text) <= 64 else f"{text[:_DIGITS_OF_DIGEST]}..."
