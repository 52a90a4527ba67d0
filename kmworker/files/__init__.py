"""Files that hold keys: made for their owner alone, and read by links that no stranger laid."""
