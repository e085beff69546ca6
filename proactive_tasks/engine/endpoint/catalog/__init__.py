"""The endpoint's catalog: buckets, objects, revisions."""
