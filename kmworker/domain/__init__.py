"""What is decided: pure, without input, output, clock or chance."""
