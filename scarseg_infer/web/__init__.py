"""The product as one static page for a browser: its source in TypeScript, and what builds it.

``src/core`` is the page's counterpart of the Python pipeline, ``src/page`` what a user sees.
"""
