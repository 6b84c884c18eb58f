"""Where results go: one module per kind, each imported only by a run that uses it.

`base` says what a sink offers and `controls` what a person changes meanwhile; `paths` holds what
the sinks that write files share.
"""
