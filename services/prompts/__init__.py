"""Prompts: posts and their revisions, who likes them, and streams of what happens to them."""
