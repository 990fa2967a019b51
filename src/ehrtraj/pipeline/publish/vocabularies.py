"""Load vocabularies: files of the user that add parents to the observed codes. The package contains none of them.

The rule table `vocabularies` lists the files of each setting and where to download them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from ehrtraj.errors import ReleaseError
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile

_MAP_COLUMNS = ("itemid (omop_source_code)", "omop_vocabulary_id", "omop_concept_code")
_OMOP_COLUMNS = {
    "CONCEPT": (
        "concept_id", "vocabulary_id", "standard_concept", "concept_code", "concept_class_id", "concept_name",
    ),
    "CONCEPT_RELATIONSHIP": ("concept_id_1", "concept_id_2", "relationship_id", "invalid_reason"),
    "CONCEPT_ANCESTOR": ("ancestor_concept_id", "descendant_concept_id"),
}  # fmt: skip


def load_gem(connection: duckdb.DuckDBPyConnection, files: list[VocabularyFile]) -> None:
    """Create the table `gem`: the ICD-10 codes that correspond to each ICD-9 code.

    A line of the files contains the two codes without dots and five digits: approximate, no map, combination, scenario,
    choice list (CMS and NCHS, General Equivalence Mappings, Documentation and User's Guide, appendix A).

    Args:
        connection: a session with the macros.
        files: vocabulary files; only those of the setting `gem` are read.

    Raises:
        ReleaseError: if a line of a file does not have this form.
    """
    connection.execute(
        "CREATE OR REPLACE TABLE gem (item VARCHAR, parent_code VARCHAR, origin VARCHAR, approximate BOOLEAN, "
        "combination BOOLEAN, scenario INTEGER, choice_list INTEGER)"
    )
    for file in (f for f in files if f.setting == "gem"):
        kind = "procedure" if "pcs" in file.name else "diagnosis"
        texts = file.path.read_text(encoding="utf-8", errors="replace").splitlines()
        connection.register("gem_texts", pa.table({"line": range(1, len(texts) + 1), "text": texts}))
        connection.execute(_GEM_LINES_SQL)
        broken = connection.execute("SELECT min(line) FROM gem_lines WHERE parsed.source = ''").fetchone()
        if broken and broken[0] is not None:
            raise ReleaseError(
                f"{file.path}, line {broken[0]}: this is not a line of the General Equivalence Mappings, "
                "such as '0010  A000    00000'"
            )
        connection.execute(
            f"""INSERT INTO gem
            SELECT icd_{kind}(9, parsed.source, '//'),
                   CASE WHEN parsed.digits[2] = '0' THEN icd_{kind}(10, parsed.target, '/') END, ?,
                   parsed.digits[1] = '1', parsed.digits[3] = '1', parsed.digits[4]::INTEGER, parsed.digits[5]::INTEGER
            FROM gem_lines""",
            [file.path.name],
        )


_GEM_LINES_SQL = """
CREATE OR REPLACE TABLE gem_lines AS
SELECT line,
       regexp_extract(text, '^([0-9A-Z]+) +([0-9A-Za-z]+) +([0-9]{5}) *$', ['source', 'target', 'digits']) AS parsed
FROM gem_texts
WHERE trim(text) <> ''
"""


def load_concept_maps(connection: duckdb.DuckDBPyConnection, files: list[VocabularyFile]) -> None:
    """Create the table `concept_map`: the concepts that correspond to each item of an event type.

    Args:
        connection: a session with the table `code_forms`.
        files: vocabulary files; only those of the setting `concept_maps` are read.

    Raises:
        ReleaseError: if a file cannot be read or lacks a column.
    """
    connection.execute(
        "CREATE OR REPLACE TABLE concept_map (begins VARCHAR, vocabulary VARCHAR, concept VARCHAR, origin VARCHAR)"
    )
    for file in (f for f in files if f.setting == "concept_maps"):
        lines = _read_csv(connection, file.path, _MAP_COLUMNS, separator=",", quote='"')
        item, vocabulary, code = (f'"{name}"' for name in _MAP_COLUMNS)
        confident = "TRUE"
        if "sssom_confidence" in lines.columns:
            confident = f"coalesce(TRY_CAST(sssom_confidence AS DOUBLE), 1) >= {file.least_confidence}"
        with explained_errors(file.path):
            for event_type in file.event_types:
                lines.filter(f"{code} IS NOT NULL AND {item} IS NOT NULL AND {confident}").project(
                    f"'{event_type}//' || trim({item}), {vocabulary}, trim({code}), '{file.name}'"
                ).insert_into("concept_map")


def load_omop(connection: duckdb.DuckDBPyConnection, files: Mapping[str, Path]) -> None:
    """Create the table `omop`: the standard concepts that each code of the table `requested` maps to.

    CONCEPT.csv is streamed twice and CONCEPT_RELATIONSHIP.csv once. Only matching rows are kept in memory, whatever the
    size of the files.

    Args:
        connection: a session with the table `requested` (vocabulary, concept).
        files: CONCEPT.csv, CONCEPT_RELATIONSHIP.csv and, if the user has it, CONCEPT_ANCESTOR.csv by name. Each
            becomes a view of the session, such as `concept_lines`.

    Raises:
        ReleaseError: if a file cannot be read or lacks a column.
    """
    # Athena uses neither quotes nor escapes: a quote is part of a name.
    for name, columns in _OMOP_COLUMNS.items():
        if path := files.get(f"{name}.csv"):
            _read_csv(connection, path, columns, separator="\t", quote="").create_view(f"{name}_lines")
    with explained_errors(files["CONCEPT.csv"].parent):
        for sql in _OMOP_SQL:
            connection.execute(sql)


_OMOP_SQL = (
    """CREATE OR REPLACE TABLE source_concept AS
    SELECT c.concept_id, c.vocabulary_id AS vocabulary, c.concept_code AS concept
    FROM concept_lines AS c
    SEMI JOIN requested AS a ON a.vocabulary = c.vocabulary_id AND a.concept = c.concept_code""",
    # A row with an invalid_reason is no longer valid.
    """CREATE OR REPLACE TABLE maps_to AS
    SELECT r.concept_id_1, r.concept_id_2
    FROM concept_relationship_lines AS r
    SEMI JOIN source_concept AS s ON s.concept_id = r.concept_id_1
    WHERE r.relationship_id = 'Maps to' AND nullif(trim(r.invalid_reason), '') IS NULL""",
    """CREATE OR REPLACE TABLE target_concept AS
    SELECT c.concept_id, c.vocabulary_id || '/' || c.concept_code AS parent_code
    FROM concept_lines AS c
    SEMI JOIN maps_to AS m ON m.concept_id_2 = c.concept_id
    WHERE c.standard_concept = 'S'""",
    """CREATE OR REPLACE TABLE omop AS
    SELECT DISTINCT s.vocabulary, s.concept, t.parent_code
    FROM source_concept AS s
    JOIN maps_to AS m ON m.concept_id_1 = s.concept_id
    JOIN target_concept AS t ON t.concept_id = m.concept_id_2""",
)


def _read_csv(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: tuple[str, ...], *, separator: str, quote: str
) -> duckdb.DuckDBPyRelation:
    """Return a relation of text columns that is read when it is used. DuckDB does not have to guess the format."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        names = next(csv.reader(handle, delimiter=separator), [])
    if missing := [name for name in columns if name not in names]:
        raise ReleaseError(f"{path} has no column {', '.join(missing)}. Its columns are: {', '.join(names)}")
    with explained_errors(path):
        return connection.read_csv(
            str(path),
            delimiter=separator,
            quotechar=quote,
            escapechar=quote,
            header=True,
            columns=dict.fromkeys(names, "VARCHAR"),
            auto_detect=False,
        )


@contextmanager
def explained_errors(path: Path) -> Iterator[None]:
    """Turn errors of DuckDB into errors that name the file. The first line of DuckDB's message contains the line."""
    try:
        yield
    except duckdb.Error as error:
        raise ReleaseError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
