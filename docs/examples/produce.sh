#!/bin/sh
# Announce a volume: produce.sh PROJECT VOLUME
amqp-publish \
    --url="${BROKER_URL:-amqp://guest:guest@127.0.0.1:5672/%2F}" \
    --exchange="${NAMESPACE:-kmworker}.events" \
    --routing-key=volume-created \
    --persistent \
    --content-type=application/cloudevents+json \
    --body='{"specversion": "1.0", "id": "'"volume-created/$1/$2"'", "source": "/examples/shell",
        "type": "volume-created", "data": {"project_id": "'"$1"'", "volume_id": "'"$2"'"}}'
