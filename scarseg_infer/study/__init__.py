"""A study in any form → one LGE stack with its geometry."""
