"""What the studies share: trainings that are not repeated, measurements that are kept."""

METRICS = {"auprc": "AUPRC", "best_f1": "best F1", "log1p_pearson": "log1p-Pearson", "mse": "MSE"}
