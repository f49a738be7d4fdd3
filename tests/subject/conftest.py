"""Small random text-to-image models, shared with the tests of their loader."""

from tests.text_to_image.conftest import folder_of, model_of

__all__ = ["folder_of", "model_of"]
