"""The part of amqp, which kombu speaks to RabbitMQ with, that we use; the package ships no types."""
