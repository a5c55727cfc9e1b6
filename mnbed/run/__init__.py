"""The life cycle of one run: launch, control, collection, teardown."""
