"""What runs beside the model: in a worker process, or (the instance alone) inline in the host."""
