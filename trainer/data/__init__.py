"""What the trainer learns from: manifests of recordings, their decoding, and invented machines."""
