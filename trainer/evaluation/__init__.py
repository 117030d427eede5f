"""What an encoder is worth on recordings it was not trained on, beside features that anyone can write in a line."""

from trainer.evaluation.while_training import evaluate_while_training

__all__ = ["evaluate_while_training"]
