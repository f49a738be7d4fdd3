"""Text-to-image models: latents, prompts and pictures around a score model."""
