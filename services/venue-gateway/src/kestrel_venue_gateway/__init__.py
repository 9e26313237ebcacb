"""Carries authorized commands to venues and reports what happened."""
