"""Experiment trackers that hear of finished cells: TensorBoard, Weights & Biases, MLflow."""
