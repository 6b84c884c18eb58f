"""The same model in half precision and in int8, made from the model file; needs no torch."""
