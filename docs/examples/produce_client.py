"""Announce a volume: python produce_client.py PROJECT VOLUME."""

import os
import sys

from kmworker.client import Producer, VolumeCreated

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")

project, volume = sys.argv[1:]
event = VolumeCreated(project_id=project, volume_id=volume, volume_type="luks-gold")
with Producer(URL, event_source="/examples/client", namespace=NAMESPACE) as producer:
    producer.publish(event)  # tries again by itself; raises if the broker has not confirmed it
print(event.id)
