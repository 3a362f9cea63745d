"""The process around the work: signals, chatter of libraries, stages, crashes."""
