"""All cores in one process, in a world that a seed decides."""
