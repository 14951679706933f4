"""Log files: what they are packed with, their bytes at any position, and their lines in frames."""
