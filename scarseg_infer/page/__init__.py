"""Parts of ``report.html``: template, style and script beside this file, and what fills them."""
