"""One file for each tool that Glassbox is compared with."""
