"""The images page in pieces: form, live job, cards, one image in detail, map, audit."""
