"""The command line's commands, one file a subject; each imports what is heavy when it is run."""
