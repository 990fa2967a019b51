"""Reports as single HTML files: of a build, and of the difference between two datasets.

`masking` decides how counts are shown. `gather` and `differences` read what a report contains, and return only texts
and masked counts; `flow` and `histogram` draw, and `page` fills the templates. No module of the build's own report
imports polars, because every build writes one.
"""
