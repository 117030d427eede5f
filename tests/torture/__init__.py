"""The long forms of proofs whose short forms run with every ``make test``; ``make torture`` runs them all."""
