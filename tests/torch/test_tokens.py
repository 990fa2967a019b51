"""Tokens of codes, quantiles, gaps and ages: fitted on train only, and equal to a simple computation.

PyTorch is in the environment that `make consumers` creates, in which `make test` runs this file.
"""

from __future__ import annotations

import json
import pickle
import stat
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ehrtraj
from ehrtraj.errors import DatasetError, SettingsError

torch = pytest.importorskip("torch", reason="PyTorch is in the environment of `make consumers`")

from torch.utils.data import DataLoader  # noqa: E402

from ehrtraj.torch import TokenDataset, TokenForm, TokenVocabulary, Vocabulary, pack, pad  # noqa: E402
from ehrtraj.torch.tokens import Encoder  # noqa: E402

MINUTE = timedelta(minutes=1)
FORMS = {
    "ethos": TokenForm(),
    "joined": TokenForm(values="joined", bins=4),
    "codes": TokenForm(values="none", gaps=(), ages=False),
    "split": TokenForm(split={"DIAGNOSIS//ICD10CM//*": [3, 1], "DRG//*": [1]}, bins=2, gaps=(60, 1440)),
}


@pytest.fixture(scope="module")
def dataset(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


def gap_tokens(gap: timedelta, form: TokenForm) -> list[str]:
    reached = [limit for limit in form.gaps if gap >= limit * MINUTE]
    if not reached:
        return []
    name = form.gap_tokens()[len(reached) - 1]
    return [name] * (round(gap / (form.gaps[-1] * MINUTE)) if len(reached) == len(form.gaps) else 1)


def code_tokens(code: str, value: float | None, form: TokenForm, edges: dict[str, list[float]]) -> list[str]:
    quantile = None
    if value is not None and code in edges:
        quantile = 1 + sum(value > edge for edge in edges[code])
    if quantile is not None and form.values == "joined":
        return [f"{code}//Q{quantile}"]
    tokens = [code]
    if form.split and code.startswith("DIAGNOSIS//ICD10CM//"):
        last = code.split("//")[2]
        dot = last[3:4] == "."
        parts = [last[3 : 4 + dot], last[4 + dot :]]
        tokens = [f"DIAGNOSIS//ICD10CM//{last[:3]}", *(f"DIAGNOSIS//ICD10CM//+{part}" for part in parts if part)]
    if form.split and code.startswith("DRG//"):
        before, _, last = code.rpartition("//")
        tokens = [f"{before}//{last[:1]}", *([f"{before}//+{last[1:]}"] if last[1:] else [])]
    return tokens + ([f"<Q{quantile}>"] if quantile is not None and form.values == "shared" else [])


def tokens_by_hand(trajectory: ehrtraj.Trajectory, form: TokenForm, edges: dict[str, list[float]]) -> list[str]:
    events = trajectory.events.select("time", "code", "numeric_value").rows()
    birth = next((time for time, code, _ in events if code == "MEDS_BIRTH"), None) if form.ages else None
    tokens: list[str] = []
    before = None
    for time, code, value in events:
        if form.ages and code == "MEDS_BIRTH":
            continue
        if time is not None:
            if before is None and birth is not None:
                age = int((time - birth) / timedelta(days=365.25)) // 5 * 5
                tokens.append(f"<age {age}-{age + 4}>" if age < 100 else "<age 100+>")
            if before is not None:
                tokens += gap_tokens(time - before, form)
            before = time
        tokens += code_tokens(code, value, form, edges)
    return tokens


def names(vocabulary: Vocabulary, item: dict) -> list[str]:
    return [vocabulary.code(int(number)) for number in item["codes"]]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_tokens_of_a_patient_agree_with_a_simple_computation(dataset: ehrtraj.Dataset, form: TokenForm) -> None:
    vocabulary = TokenVocabulary.fit(dataset, form)
    unknown = 0
    for split in ("train", "held_out"):
        items = TokenDataset(dataset, split=split, vocabulary=vocabulary)
        for index, subject in enumerate(dataset.filter(split=split)):
            expected = [vocabulary[token] for token in tokens_by_hand(dataset[subject], form, vocabulary.edges)]
            assert items[index]["codes"].tolist() == expected, subject
            unknown += expected.count(1)
            assert split == "held_out" or 1 not in expected
    assert unknown > 0, "the test needs codes that occur only in held_out"


def test_the_forms_use_all_kinds_of_tokens(dataset: ehrtraj.Dataset) -> None:
    seen = {}
    for name, form in FORMS.items():
        items = TokenDataset(dataset, vocabulary=TokenVocabulary.fit(dataset, form))
        seen[name] = {token for index in range(len(items)) for token in names(items.vocabulary, items[index])}
    assert {"<gap 5m-15m>", "<gap 12h-1d>", "<Q1>", "<Q5>", "<age 65-69>"} <= seen["ethos"]
    assert len({token for token in seen["joined"] if token.startswith("LAB//50912//Q")}) > 1
    assert "LAB//50912" not in seen["joined"]
    assert not any(token.startswith("<") for token in seen["codes"])
    assert {"DIAGNOSIS//ICD10CM//I21", "DIAGNOSIS//ICD10CM//+.0", "<gap 1d+>", "<gap 1h-1d>"} <= seen["split"]


@pytest.mark.parametrize("name", ["ethos", "joined"])
def test_the_item_of_a_label_contains_only_what_was_known(dataset: ehrtraj.Dataset, name: str) -> None:
    form = FORMS[name]
    vocabulary = TokenVocabulary.fit(dataset, form)
    times = dataset.scan().select("subject_id", prediction_time="available_time").drop_nulls().unique()
    labels = times.sort("subject_id", "prediction_time").collect().with_columns(boolean_value=pl.lit(value=True))
    hidden = 0
    for split in ("train", "held_out"):
        of_split = labels.join(dataset.filter(split=split).subjects, on="subject_id", how="semi", maintain_order="left")
        items = TokenDataset(dataset, split=split, labels=labels, vocabulary=vocabulary)
        assert len(items) == of_split.height > 0
        for index in range(0, len(items), 2):
            subject, time, _ = of_split.row(index)
            known = dataset[subject].as_of(time)
            expected = tokens_by_hand(known, form, vocabulary.edges)
            assert items[index]["codes"].tolist() == [vocabulary[token] for token in expected]
            assert items[index]["times"].max() <= 0
            hidden += len(dataset[subject]) - len(known)
    assert hidden > 0


def test_everything_is_learnt_only_from_train(dataset: ehrtraj.Dataset) -> None:
    for form in FORMS.values():
        complete, train = (TokenVocabulary.fit(ds, form) for ds in (dataset, dataset.filter(split="train")))
        assert (complete.codes, complete.edges) == (train.codes, train.edges)
    unseen = set(dataset.codes["code"]) - set(dataset.filter(split="train").scan().collect()["code"])
    assert unseen
    vocabulary = TokenVocabulary.fit(dataset)
    assert {vocabulary[code] for code in unseen} == {1}
    assert not unseen & set(vocabulary.edges)
    with pytest.raises(SettingsError, match="no patients in train"):
        TokenVocabulary.fit(dataset.filter(split="held_out"))


@pytest.mark.parametrize("bins", [2, 3, 10])
def test_edges_are_exact_quantiles(dataset: ehrtraj.Dataset, bins: int) -> None:
    vocabulary = TokenVocabulary.fit(dataset, TokenForm(bins=bins))
    values = defaultdict(list)
    events = dataset.filter(split="train").scan().filter(pl.col("numeric_value").is_not_null()).collect()
    for code, value in events.select("code", "numeric_value").iter_rows():
        values[code].append(value)
    assert vocabulary.edges.keys() == values.keys()
    several = 0
    for code, numbers in values.items():
        expected = np.quantile(numbers, [n / bins for n in range(1, bins)], method="inverted_cdf").tolist()
        assert vocabulary.edges[code] == expected
        several += len(set(numbers)) > 1
    assert several > 3


def test_quantiles_divide_values_evenly() -> None:
    values = np.arange(1000, dtype=np.float32)
    edges = {"A": [99.0 + 100 * n for n in range(9)]}
    vocabulary = TokenVocabulary([*TokenForm().quantile_tokens(), "A", "B"], TokenForm(gaps=(), ages=False), edges)
    encoder = Encoder(vocabulary, ["A", "B"])

    def encoded(codes: list[int], numbers: np.ndarray) -> list[str]:
        times = np.arange(len(codes), dtype=np.int64)
        found = encoder.encode(np.array(codes, np.int32), times, numbers, static=0, most=10_000, latest=True)
        return [vocabulary.code(int(token)) for token in found.tokens]

    tokens = encoded([0] * 1000, values)
    assert tokens[::2] == ["A"] * 1000
    assert [tokens[1::2].count(f"<Q{n}>") for n in range(1, 11)] == [100] * 10
    assert encoded([0, 0, 1, 0], np.array([-5, 5000, 7, np.nan], np.float32)) == ["A", "<Q1>", "A", "<Q10>", "B", "A"]


def test_a_gap_has_the_token_of_its_length() -> None:
    form = TokenForm(values="none", ages=False)
    vocabulary = TokenVocabulary([*form.gap_tokens(), "A"], form, {})
    encoder = Encoder(vocabulary, ["A"])
    expected = {
        4.99: [], 5: ["<gap 5m-15m>"], 14.99: ["<gap 5m-15m>"], 15: ["<gap 15m-1h>"], 1440: ["<gap 1d-3d>"],
        180 * 1440 - 1: ["<gap 90d-180d>"], 180 * 1440: ["<gap 180d+>"], 365 * 1440: ["<gap 180d+>"] * 2,
    }  # fmt: skip
    for minutes, tokens in expected.items():
        times = np.array([0, 0, round(minutes * 60e6)], np.int64)
        found = encoder.encode(
            np.zeros(3, np.int32), times, np.full(3, np.nan, np.float32), static=1, most=99, latest=True
        )
        assert [vocabulary.code(int(token)) for token in found.tokens] == ["A", "A", *tokens, "A"]


@pytest.mark.parametrize("window", ["last", "first", "random"])
@pytest.mark.parametrize("most", [1, 2, 7, 40, 100])
def test_an_item_has_complete_events_within_max_tokens(dataset: ehrtraj.Dataset, window: str, most: int) -> None:
    vocabulary = TokenVocabulary.fit(dataset)
    items = TokenDataset(dataset, vocabulary=vocabulary, max_tokens=most, window=window)
    complete = TokenDataset(dataset, vocabulary=vocabulary)
    cut = 0
    for index in range(len(items)):
        item, everything = items[index], complete[index]
        assert len(item["codes"]) <= most
        cut += len(everything["codes"]) > most
        timed = item["codes"][~item["static_mask"]].tolist()
        of_all = everything["codes"][~everything["static_mask"]].tolist()
        assert not timed or not vocabulary.code(timed[0]).startswith("<"), "it begins with a code"
        begins = [at for at in range(len(of_all)) if of_all[at : at + len(timed)] == timed]
        assert begins
        if window == "last" and timed:
            assert len(of_all) - len(timed) in begins
        if window == "first":
            assert 0 in begins
        after = begins[0] + len(timed)
        if window == "first" and after < len(of_all):
            assert not vocabulary.code(of_all[after]).startswith("<Q"), "no quantile is cut off"
    assert cut


def test_values_and_times_belong_to_the_codes(dataset: ehrtraj.Dataset) -> None:
    for form in (FORMS["ethos"], FORMS["joined"], FORMS["split"]):
        items = TokenDataset(dataset, vocabulary=TokenVocabulary.fit(dataset, form))
        for index, subject in enumerate(dataset.filter(split="train")):
            item = items[index]
            events = dataset[subject].events.filter(pl.col("code") != "MEDS_BIRTH")
            assert item["values"][item["value_mask"]].tolist() == events["numeric_value"].drop_nulls().to_list()
            assert not item["values"][~item["value_mask"]].any()
            first = events["time"].drop_nulls()[0]
            hours = {round((time - first) / timedelta(hours=1), 9) for time in events["time"].drop_nulls()}
            assert {round(hour, 9) for hour in item["times"][~item["static_mask"]].tolist()} == hours
            static = [
                name
                for name, is_static in zip(names(items.vocabulary, item), item["static_mask"], strict=True)
                if is_static
            ]
            assert static == [
                *events.filter(pl.col("time").is_null())["code"],
                *(n for n in static if n.startswith("<age")),
            ]
            assert sum(name.startswith("<age") for name in static) == 1


def test_rare_tokens_are_unknown(dataset: ehrtraj.Dataset) -> None:
    complete, frequent = TokenVocabulary.fit(dataset), TokenVocabulary.fit(dataset, min_count=3)
    assert len(frequent) < len(complete)
    special = [*TokenForm().gap_tokens(), *TokenForm().age_tokens(), *TokenForm().quantile_tokens()]
    assert list(frequent.codes[: len(special)]) == list(complete.codes[: len(special)]) == special
    assert frequent.edges == complete.edges
    items = TokenDataset(dataset, vocabulary=frequent)
    assert 0 < items.unknown_share() < 1


def test_a_vocabulary_can_be_saved(dataset: ehrtraj.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    for form in FORMS.values():
        vocabulary = TokenVocabulary.fit(dataset, form)
        vocabulary.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        loaded = TokenVocabulary.load(path)
        assert (loaded.codes, loaded.form, loaded.edges) == (vocabulary.codes, vocabulary.form, vocabulary.edges)
    Vocabulary.fit(dataset).save(path)
    with pytest.raises(DatasetError, match="is not a vocabulary of tokens"):
        TokenVocabulary.load(path)
    path.write_text(json.dumps({"codes": [], "form": {"unknown": 1}, "edges": {}}))
    with pytest.raises(DatasetError, match="is not a vocabulary of tokens"):
        TokenVocabulary.load(path)


def test_items_do_not_depend_on_the_worker_and_form_batches(dataset: ehrtraj.Dataset) -> None:
    items = TokenDataset(dataset, max_tokens=50, window="random", seed=3)
    copy = pickle.loads(pickle.dumps(items))
    expected = pad([items[index] for index in range(len(items))])
    loaded = next(
        iter(DataLoader(copy, batch_size=len(items), collate_fn=pad, num_workers=2, multiprocessing_context="spawn"))
    )
    assert torch.equal(loaded.codes, expected.codes)
    packed = pack([copy[index] for index in range(len(copy))])
    assert torch.equal(packed.codes, expected.codes[expected.mask])
    assert torch.equal(packed.values, expected.values[expected.mask])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": "deciles"}, "values is 'deciles': it must be one of shared, joined, none"),
        ({"values": "joind"}, r"values is 'joind' \(did you mean joined\?\)"),
        ({"bins": 1}, "bins is 1: it must be at least 2"),
        ({"gaps": (60, 5)}, "gaps is .*ascending order"),
        ({"gaps": (0, 5)}, "gaps is .*ascending order"),
        ({"split": {"LAB//*": []}}, "split is .* for 'LAB"),
        ({"split": {"LAB//*": [0]}}, "each length must be at least 1"),
    ],
)
def test_invalid_forms_are_refused(change: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        replace(TokenForm(), **change)


def test_invalid_settings_are_refused(dataset: ehrtraj.Dataset) -> None:
    with pytest.raises(SettingsError, match="max_tokens is 0"):
        TokenDataset(dataset, max_tokens=0)
    with pytest.raises(SettingsError, match=r"no code in .* matches 'DIAGNOSES//\*'. Did you mean DIAGNOSIS//\*"):
        TokenVocabulary.fit(dataset, TokenForm(split={"DIAGNOSES//*": [3]}))
    with pytest.raises(SettingsError, match="a code occurs twice"):
        TokenVocabulary(["A", "A"], TokenForm(), {})


def test_a_patient_without_a_birth_has_no_age(dataset: ehrtraj.Dataset, release: Path, tmp_path: Path) -> None:
    path = ehrtraj.build(release, tmp_path, "labs", tables="labevents", max_cpus=1).path
    items = TokenDataset(path)
    assert not any("<age" in name for index in range(len(items)) for name in names(items.vocabulary, items[index]))
