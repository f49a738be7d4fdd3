"""Text-to-image models: latents, prompts and images around a score model."""
