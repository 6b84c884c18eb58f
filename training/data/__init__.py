"""Pictures to learn from: where they lie, how they are degraded, how crops are drawn."""
