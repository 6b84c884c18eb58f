"""What `patchwatch demo` shows: a clip and the small decoder that makes its second half."""
