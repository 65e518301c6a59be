"""What the end-to-end suites share: a server to play with, its wire, small handlers, a check for pictures."""
