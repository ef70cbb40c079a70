"""Decides what may be seen: screens text by a policy of rules, keeps the cases that people decide."""
