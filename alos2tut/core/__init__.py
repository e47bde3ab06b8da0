"""What all rooms stand on: errors, checks of arguments, whole files, work shared by processes, settings, tables."""
