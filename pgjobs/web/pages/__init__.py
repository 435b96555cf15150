"""The pages: each file has the look-ups and the view of one."""
