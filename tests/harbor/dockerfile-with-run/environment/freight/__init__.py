"""What the freight office shares between its scripts."""
