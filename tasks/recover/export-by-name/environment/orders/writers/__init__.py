"""Our own writers: each has `lines(orders)`, which gives text without line ends, and `end`, the line end."""
