"""Clusters that ask who comes: how clients get in, and what each job needs to be allowed."""
