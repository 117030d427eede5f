"""What an encoder is worth on recordings it was not trained on, beside features that anyone can write in a line."""
