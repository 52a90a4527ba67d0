"""What tests of commands share: the program, a store that workers have filled, a broker."""
