-- The product of each pharmacy order that has an NDC: the drug itself, not its solvent or additive. pharmacy_id joins it
-- with pharmacy and emar, which do not name a product. Every order of the demo has one main product, or one row.
WITH first_product AS (
  SELECT
    subject_id,
    pharmacy_id,
    min({
      'is_solvent': drug_type <> 'MAIN',
      'drug': drug,
      'ndc': ndc,
      'formulary_drug_cd': formulary_drug_cd,
      'gsn': gsn
    }) AS product
  FROM prescriptions
  WHERE pharmacy_id IS NOT NULL
  GROUP BY subject_id, pharmacy_id
)
SELECT
  first_product.subject_id,
  first_product.pharmacy_id,
  product.drug                                                              AS product_name,
  'NDC/' || ndc11(product.ndc)                                              AS product_ndc,
  formulary_ingredient(product.formulary_drug_cd, product.gsn, product.ndc) AS product_ingredient
FROM first_product
WHERE ndc11(product.ndc) IS NOT NULL
