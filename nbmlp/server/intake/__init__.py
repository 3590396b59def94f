"""Files that somebody uploaded: checked, read in a confined process, described."""
