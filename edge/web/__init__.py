"""The page, the API and the figures of a run; needs the extra `web`, and nobody else needs it."""
