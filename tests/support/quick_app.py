"""The worker's application, but the broker gives back what a killed worker held after 2 seconds, not 15."""

from worker.service.celery_app import create
from worker.settings import Settings

app = create(Settings())
app.conf.broker_transport_options = {
    **app.conf.broker_transport_options,
    "consumer_ttl": 2,
    "unacked_restore_interval": 1,
}
