"""What a graph can run on, and where what was compiled for it is kept."""
