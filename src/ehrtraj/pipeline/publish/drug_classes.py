"""RxNorm ingredients and ATC classes of drug codes, from the OMOP vocabularies that the user has."""

from __future__ import annotations

import duckdb

# A drug's name counts where RxNorm has one ingredient of that name. Products are known by their RxNorm parents.
_NAMED_SQL = """
INSERT INTO parents BY NAME
WITH ingredients AS (
  SELECT lower(concept_name) AS drug, min(concept_code) AS concept
  FROM concept_lines
  WHERE vocabulary_id = 'RxNorm' AND concept_class_id = 'Ingredient' AND standard_concept = 'S'
    AND lower(concept_name) IN (SELECT drug FROM drugs)
  GROUP BY ALL
  HAVING count(*) = 1
)
SELECT DISTINCT code, 'RxNorm/' || concept AS parent_code, 'CONCEPT.csv' AS origin
FROM drugs
JOIN ingredients USING (drug);
"""

_ABOVE_SQL = """
CREATE TABLE drug_concepts AS
SELECT DISTINCT p.code, c.concept_id
FROM concept_lines AS c
JOIN parents AS p ON p.parent_code = 'RxNorm/' || c.concept_code
WHERE c.vocabulary_id = 'RxNorm';

CREATE TABLE ancestors AS
SELECT a.descendant_concept_id AS concept_id, a.ancestor_concept_id
FROM concept_ancestor_lines AS a
SEMI JOIN drug_concepts AS d ON d.concept_id = a.descendant_concept_id;

CREATE TABLE drug_classes AS
SELECT concept_id, vocabulary_id || '/' || concept_code AS parent_code
FROM concept_lines AS c
SEMI JOIN ancestors AS a ON a.ancestor_concept_id = c.concept_id
WHERE vocabulary_id = 'ATC' OR (concept_class_id = 'Ingredient' AND standard_concept = 'S');

INSERT INTO parents BY NAME
SELECT DISTINCT d.code, c.parent_code, 'CONCEPT_ANCESTOR.csv' AS origin
FROM drug_concepts AS d
JOIN ancestors AS a USING (concept_id)
JOIN drug_classes AS c ON c.concept_id = a.ancestor_concept_id
ANTI JOIN parents AS p ON p.code = d.code AND p.parent_code = c.parent_code;
"""


def add_drug_classes(connection: duckdb.DuckDBPyConnection, *, ancestors: bool) -> None:
    """Add the ingredients that the drugs' names name and, by the ancestors, ingredients and classes of all products.

    The files are read as streams: only what the codes need is kept.

    Args:
        connection: a session that has the tables `parents` and `drugs` and the views of `load_omop`.
        ancestors: whether CONCEPT_ANCESTOR.csv is among them.
    """
    connection.execute(_NAMED_SQL)
    if ancestors:
        connection.execute(_ABOVE_SQL)
