"""The whole way: a clip through the pipeline, a live stream to its verdict, a cold start."""
