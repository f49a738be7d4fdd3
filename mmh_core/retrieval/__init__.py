"""Find the training images nearest to an image, and weigh whether it copies one of them."""
