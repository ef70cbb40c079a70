"""Organisations: teams, their members, invitations and service accounts."""
