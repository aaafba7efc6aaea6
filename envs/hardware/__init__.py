"""What hardware costs: times of GPU iterations, copies and all-reduces, fitted to measurements."""
