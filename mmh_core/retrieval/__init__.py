"""Find the training pictures nearest to a picture, and weigh whether it copies one of them."""
