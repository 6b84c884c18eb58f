"""Pairs: photographs with their reconstructions through a decoder, pixel on pixel."""
