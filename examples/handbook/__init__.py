"""The job of the document pipeline: read a folder of Markdown pages, and say what is in it."""
