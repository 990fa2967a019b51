"""Content of `metadata/codes.parquet`: description, unit, counts and parents of every observed code.

A parent is a code of another coding system, `SYSTEM/code` (`ICD10CM/A41.9`). `metadata/parent_codes.parquet` records
where each parent comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import meds
import pyarrow as pa

from ehrtraj.format import keys
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile
from ehrtraj.pipeline.publish.drug_classes import add_drug_classes
from ehrtraj.pipeline.publish.drugs import add_drug_parents
from ehrtraj.pipeline.publish.vocabularies import explained_errors, load_concept_maps, load_gem, load_omop
from ehrtraj.pipeline.shard.code_facts import DESCRIPTION, NUMBER_UNIT, PARENT, UNIT
from ehrtraj.pipeline.shard.extract import known_codes
from ehrtraj.rules import columns_of
from ehrtraj.runtime.session import open_session
from ehrtraj.sources.source import Source

PARENTS_SCHEMA = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("parent_code", pa.string()),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("approximate", pa.bool_()),
        pa.field("combination", pa.bool_()),
        pa.field("scenario", pa.int32()),
        pa.field("choice_list", pa.int32()),
    ]
)
"""Columns of `metadata/parent_codes.parquet`. The last four come from the General Equivalence Mappings."""

_OBSERVED_SQL = f"""
CREATE TABLE observed AS
SELECT
  counted.*, described,
  coalesce(units, []::VARCHAR[]) AS units,
  coalesce(number_units, []::VARCHAR[]) AS number_units,
  coalesce(parents, []::VARCHAR[]) AS parents
FROM (
  SELECT code, min(source_table) AS source_table, sum(n_events)::BIGINT AS n_events,
         sum(n_subjects)::BIGINT AS n_subjects
  FROM code_counts
  GROUP BY code
) AS counted
LEFT JOIN (
  SELECT code,
         min(text) FILTER (kind = '{DESCRIPTION}') AS described,
         list_sort(list(DISTINCT text) FILTER (kind = '{UNIT}')) AS units,
         list_sort(list(DISTINCT text) FILTER (kind = '{NUMBER_UNIT}')) AS number_units,
         list_sort(list(DISTINCT text) FILTER (kind = '{PARENT}')) AS parents
  FROM code_facts
  GROUP BY code
) AS facts USING (code);

-- Every code, split after each part: DIAGNOSIS//ICD10CM//A41.9 begins with DIAGNOSIS//ICD10CM, and A41.9 follows.
CREATE TABLE beginnings AS
SELECT code, parts, array_to_string(part[:parts], '//') AS begins, array_to_string(part[parts + 1:], '//') AS follows
FROM (SELECT code, string_split(code, '//') AS part FROM observed), unnest(range(1, len(part) + 1)) AS n(parts);

CREATE TABLE parents (code VARCHAR, parent_code VARCHAR, origin VARCHAR, approximate BOOLEAN, combination BOOLEAN,
                      scenario INTEGER, choice_list INTEGER);
"""

# A release describes half a million codes. Grouping only those that occur takes a quarter of the time.
_DESCRIBED_SQL = """
CREATE TABLE described AS
SELECT d.code, min(d.description) AS description
FROM descriptions AS d
SEMI JOIN beginnings AS b ON b.begins = d.code
GROUP BY d.code
"""

# Parents from four origins: the code itself in its coding system, the rows, the user's maps, and the rule tables.
_OWN_PARENTS_SQL = """
CREATE TABLE mapped AS
SELECT DISTINCT m.begins, f.parent AS system, f.parent || '/' || m.concept AS parent_code, m.origin
FROM concept_map AS m
JOIN code_forms AS f ON f.omop = m.vocabulary AND regexp_full_match(m.concept, f.form);

-- A code that is missing in its dictionary does not belong to its coding system. A unit may follow the item.
CREATE TABLE unknown AS
SELECT code
FROM observed
ANTI JOIN (
  SELECT b.code FROM beginnings AS b JOIN known_codes AS k ON b.begins = k.event_type || '//' || k.item
) USING (code)
WHERE split_part(code, '//', 1) IN (SELECT DISTINCT event_type FROM known_codes);

INSERT INTO parents BY NAME
SELECT b.code, f.parent || '/' || b.follows AS parent_code, 'code_forms.csv' AS origin
FROM beginnings AS b
JOIN code_forms AS f ON f.begins = b.begins AND regexp_full_match(b.follows, f.form)
ANTI JOIN unknown AS u ON u.code = b.code
UNION ALL
SELECT code, unnest(parents), source_table FROM observed
UNION ALL
SELECT b.code, m.parent_code, m.origin
FROM beginnings AS b
JOIN mapped AS m USING (begins)
UNION ALL
-- A map of the user overrides the rules for the items and systems that it contains.
SELECT b.code, r.parent, r.origin
FROM beginnings AS b
JOIN (
  SELECT event_type || '//' || item AS begins, concept AS parent, 'concepts.csv' AS origin FROM concepts
  UNION ALL
  SELECT event_type || '//' || item, parent, 'item_parents.csv' FROM item_parents
) AS r USING (begins)
ANTI JOIN mapped AS m ON m.begins = b.begins AND m.system = split_part(r.parent, '/', 1);
"""

_REQUESTED_SQL = """
CREATE TABLE requested AS
SELECT DISTINCT p.code, f.omop AS vocabulary, substr(p.parent_code, length(f.parent) + 2) AS concept
FROM parents AS p
JOIN code_forms AS f ON f.parent = split_part(p.parent_code, '/', 1) AND f.omop <> '';
"""

_OMOP_PARENTS_SQL = """
INSERT INTO parents BY NAME
SELECT DISTINCT a.code, o.parent_code, 'CONCEPT_RELATIONSHIP.csv' AS origin
FROM requested AS a
JOIN omop AS o USING (vocabulary, concept);
"""

# These are added after OMOP, because approximate equivalents are not mapped any further.
_GEM_PARENTS_SQL = """
INSERT INTO parents BY NAME
SELECT b.code, g.* EXCLUDE (item)
FROM beginnings AS b
JOIN gem AS g ON g.item = b.follows;
"""

_CODES_SQL = r"""
WITH named AS (
  SELECT b.code, arg_max(d.description, b.parts) AS description
  FROM beginnings AS b
  JOIN described AS d ON d.code = b.begins
  GROUP BY b.code
), parents_of_code AS (
  SELECT code, list_sort(list(DISTINCT parent_code)) AS parent_codes
  FROM parents
  WHERE parent_code IS NOT NULL
  GROUP BY code
), parted AS (
  SELECT
    *,
    split_part(code, '//', 1) AS event_type,
    nullif(substr(code, length(split_part(code, '//', 1)) + 3), '') AS item
  FROM observed
)
SELECT p.code,
       trim(regexp_replace(
         coalesce(n.description, p.described, concat_ws(': ', m.meaning, p.item)), '\s+', ' ', 'g'
       )) AS description,
       coalesce(a.parent_codes, []::VARCHAR[]) AS parent_codes,
       -- The unit of the numbers, and of codes without numbers that of all rows.
       CASE
         WHEN len(p.number_units) > 0 THEN if(len(p.number_units) = 1, p.number_units[1], NULL)
         WHEN len(p.units) = 1 THEN p.units[1]
       END AS unit,
       p.units, p.event_type, p.source_table, p.n_events, p.n_subjects
FROM parted AS p
LEFT JOIN named AS n USING (code)
LEFT JOIN parents_of_code AS a USING (code)
LEFT JOIN event_types AS m USING (event_type)
ORDER BY p.code
"""

_SUMMARY_SQL = """
SELECT count(DISTINCT code) FILTER (WHERE parent_code IS NOT NULL AND list_contains(?, origin)),
       (SELECT count(*) FROM observed)
FROM parents
"""

_MISFITS_SQL = """
SELECT origin, count(DISTINCT split_part(begins, '//', 2)), min(concept)
FROM concept_map AS m
WHERE NOT EXISTS (FROM code_forms AS f WHERE f.omop = m.vocabulary AND regexp_full_match(m.concept, f.form))
GROUP BY origin
ORDER BY origin
"""

_PARENTS_SQL = "SELECT DISTINCT * FROM parents ORDER BY ALL NULLS FIRST"


@dataclass(frozen=True)
class CodeTables:
    """Metadata of the observed codes.

    Attributes:
        codes: one row per code, as in `metadata/codes.parquet`.
        parents: one row for each code, parent and origin, with the columns of `PARENTS_SCHEMA`.
        notes: notes for the user about the vocabularies.
    """

    codes: pa.Table
    parents: pa.Table
    notes: tuple[str, ...] = ()


def describe_codes(
    counts: pa.Table,
    facts: pa.Table,
    dictionaries: Mapping[str, pa.Table],
    source: Source,
    vocabularies: Sequence[VocabularyFile] = (),
    memory: int = 10**9,
    threads: int = 1,
    spill: Path | None = None,
) -> CodeTables:
    """Return every observed code with its description, parents, unit and counts.

    Args:
        counts: counts of each code, a table of `COUNTS_SCHEMA`.
        facts: what the rows say about codes, a table of `FACTS_SCHEMA`.
        dictionaries: dictionaries of the release by bare table name; dictionaries that it lacks are empty.
        source: source with the recipe `codes.sql` and the rules.
        vocabularies: files with more parents.
        memory: bytes that DuckDB may use.
        threads: maximum number of threads.
        spill: folder for data that does not fit in memory.

    Raises:
        ReleaseError: if a vocabulary cannot be read.
    """
    files = list(vocabularies)
    omop = {f.name: f.path for f in files if f.setting == "vocabulary"}
    readable = [file.path for file in files]
    with open_session(threads=threads, memory=memory, spill=spill, readable=readable) as connection:
        connection.execute(keys.MACRO)
        connection.execute(source.helper("macros"))
        _register(connection, dictionaries, source)
        connection.register("code_counts", counts)
        connection.register("code_facts", facts)
        # Both take the same time, most of it in one thread of DuckDB.
        with ThreadPoolExecutor(1) as pool:
            known = pool.submit(known_codes, connection.cursor(), dictionaries, source)
            connection.execute(_OBSERVED_SQL)
            connection.sql(source.helper("codes")).create_view("descriptions")
            connection.execute(_DESCRIBED_SQL)
        connection.register("known_codes", known.result())
        load_concept_maps(connection, files)
        connection.execute(_OWN_PARENTS_SQL)
        add_drug_parents(connection)
        if omop:
            connection.execute(_REQUESTED_SQL)
            load_omop(connection, omop)
            connection.execute(_OMOP_PARENTS_SQL)
            with explained_errors(omop["CONCEPT.csv"].parent):
                add_drug_classes(connection, ancestors="CONCEPT_ANCESTOR.csv" in omop)
        load_gem(connection, files)
        connection.execute(_GEM_PARENTS_SQL)
        codes = connection.sql(_CODES_SQL).to_arrow_table()
        parents = connection.sql(_PARENTS_SQL).to_arrow_table().cast(PARENTS_SCHEMA)
        notes = _notes(connection, files)
    codes = codes.set_column(2, "parent_codes", codes["parent_codes"].cast(pa.list_(pa.string())))
    meds.CodeMetadataSchema.validate(codes)
    return CodeTables(codes, parents, notes)


def _notes(connection: duckdb.DuckDBPyConnection, files: list[VocabularyFile]) -> tuple[str, ...]:
    """Return notes on the parents found with each setting, and on lines that do not contain a valid code."""
    notes = []
    for setting in dict.fromkeys(file.setting for file in files):
        names = [file.path.name for file in files if file.setting == setting]
        ((with_parent, total),) = connection.execute(_SUMMARY_SQL, [names]).fetchall()
        option = setting.replace("_", "-")
        notes.append(f"--{option}: {with_parent:,} of {total:,} codes have a parent from {', '.join(names)}")
    if any(file.setting == "vocabulary" for file in files) and not any(f.name == "CONCEPT_ANCESTOR.csv" for f in files):
        notes.append(
            "--vocabulary: CONCEPT_ANCESTOR.csv is missing, so products have no ingredients and no ATC classes"
        )
    for origin, count, example in connection.execute(_MISFITS_SQL).fetchall():
        notes.append(
            f"{origin}: lines not used because their code is not valid in its coding system: {count}, "
            f"such as '{example}'"
        )
    return tuple(notes)


def _register(connection: duckdb.DuckDBPyConnection, dictionaries: Mapping[str, pa.Table], source: Source) -> None:
    for name, rows in dictionaries.items():
        connection.register(name, rows)
    for name in ("code_forms", "concepts", "item_parents"):
        lines = source.rules(name)
        columns = {column: [line[column] for line in lines] for column in columns_of(name)}
        connection.register(name, pa.table({c: pa.array(values, pa.string()) for c, values in columns.items()}))
    event_types = list(source.event_types.values())
    connection.register(
        "event_types",
        pa.table({"event_type": [d.name for d in event_types], "meaning": [d.meaning for d in event_types]}),
    )
