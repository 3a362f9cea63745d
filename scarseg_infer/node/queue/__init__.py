"""Everything that the node has on disk: files, database and all of its SQL."""
