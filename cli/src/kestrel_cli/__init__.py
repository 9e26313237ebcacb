"""The kestrel command."""
