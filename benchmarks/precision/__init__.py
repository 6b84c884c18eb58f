"""What half precision and int8 cost: size, differences, AUC, and time on a CPU."""
