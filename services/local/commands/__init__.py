"""The commands of `promptmesh`, one file a group."""
