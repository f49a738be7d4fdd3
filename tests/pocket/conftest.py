"""Fixtures of random pipelines, shared with the tests of `text_to_image`."""

from tests.text_to_image.conftest import folder_of, model_of

__all__ = ["folder_of", "model_of"]
