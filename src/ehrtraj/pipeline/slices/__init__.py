"""Slices: the parts of a table's file that belong to one shard each.

Most tables of a release are ordered by subject_id, and a shard is a range of subject_ids. The file of such a table is
cut at the bounds of the shards while it is decompressed, and each shard parses its own slice. Compared with staging,
this saves the conversion to Arrow files, and only the slices of a few shards are on the disk at the same time.
"""
