"""Other people's order management, fed our trades. Runs in .venv-bench, where nothing of ours is installed."""
