"""What several commands take: options in the same words, times, events made of words."""
