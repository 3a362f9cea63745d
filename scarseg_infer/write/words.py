"""Words that every output says of itself."""

from __future__ import annotations

from typing import Final

RESEARCH_USE: Final = "Research use only. Not a medical device."
