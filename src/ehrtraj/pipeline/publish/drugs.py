"""Parents of drug codes by the drug's name: the name itself, and the products that the release orders under it."""

from __future__ import annotations

import duckdb

from ehrtraj.pipeline.shard.code_facts import DRUG

PREFIX = "DRUG/"
"""Begins the parent that all spellings of a drug's name share. It is no public vocabulary."""

_NAME_SQL = f"""
CREATE TABLE drugs AS
SELECT DISTINCT code, text AS drug, ingredient
FROM code_facts
SEMI JOIN observed USING (code)
WHERE kind = '{DRUG}';

INSERT INTO parents BY NAME
SELECT DISTINCT code, '{PREFIX}' || drug AS parent_code, 'names' AS origin
FROM drugs;
"""

# Products come from the rows that name both a drug and an ingredient. Names under which the release orders several
# ingredients ('Insulin', 'Vitamin D') have no products in common.
_PRODUCTS_SQL = """
INSERT INTO parents BY NAME
WITH
one_ingredient AS (
  SELECT drug
  FROM drugs
  GROUP BY drug
  HAVING count(DISTINCT ingredient) = 1
),
products AS (
  SELECT DISTINCT d.drug, p.parent_code
  FROM drugs AS d
  JOIN (SELECT code, unnest(parents) AS parent_code FROM observed) AS p USING (code)
  WHERE d.ingredient IS NOT NULL
)
SELECT DISTINCT d.code, p.parent_code, 'names' AS origin
FROM drugs AS d
SEMI JOIN one_ingredient USING (drug)
JOIN products AS p USING (drug)
JOIN observed AS o ON o.code = d.code AND len(o.parents) = 0;
"""


def add_drug_parents(connection: duckdb.DuckDBPyConnection) -> None:
    """Add each drug code's name as a parent, and the products of that name where its own rows link none.

    Args:
        connection: a session that has the tables `code_facts`, `observed` and `parents`; gets the table `drugs`.
    """
    connection.execute(_NAME_SQL)
    connection.execute(_PRODUCTS_SQL)
