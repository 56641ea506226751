"""How estimators learn: the training loop, batches of a training set, and learning rates."""
