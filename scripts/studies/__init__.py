"""What the studies share: trainings that are not repeated, measurements that are kept."""
