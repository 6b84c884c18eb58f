"""AUC under degradation against the work of one frame, for every model of an evaluation."""
