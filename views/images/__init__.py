"""The images page in pieces: form, live job, cards, one picture in detail, map, audit."""
