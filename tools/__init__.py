"""Tools of the project itself: what the Makefile calls."""
