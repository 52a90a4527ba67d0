"""The broker: topology, connections, publishing, and RabbitMQ behind the `Bus` port."""
