"""Tables that nobody has checked, in any usual form, as rows of texts."""
