"""Search spaces ready to use, one file each."""
