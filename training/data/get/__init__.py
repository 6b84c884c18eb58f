"""Published data sets and weights: where they are, on what terms, and how to fetch them safely."""
