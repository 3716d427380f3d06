"""The np protocol, version 1, written from docs/PROTOCOL.md alone.

Nothing here was taken over from the program's code: what this package cannot do with the page in hand is a defect of the
page. It is for tests and to read; it is not made to be fast, nor to keep secrets in memory well.
"""
