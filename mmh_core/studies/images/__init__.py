"""Generated images: LID, nearest training images, copies, verdicts."""
