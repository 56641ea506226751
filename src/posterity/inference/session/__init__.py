"""What sessions of Python alone use: methods, studies, scores and figures of datasets, with defaults for a person."""
