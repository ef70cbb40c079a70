"""Providers of models, behind one interface."""
