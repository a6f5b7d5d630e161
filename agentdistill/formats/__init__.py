"""Other projects' formats, one file or folder each."""
