"""The networks: ``echo`` (the encoder that is published and exported)."""
