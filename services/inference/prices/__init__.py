"""Prices and lengths of models for `models.yaml`, from LiteLLM's cost map: imported on command, never at a start."""
