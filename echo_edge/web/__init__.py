"""The page: a service of its own that shows what the daemon says, and hands on what people order."""
