"""Jobs through Celery: delay, then get, which waits on Redis' own notification."""

from loop import run_threads
from tasks_celery import echo

VALUE = {"text": "a short input of 38 bytes"}
run_threads(lambda: echo.delay(VALUE).get(timeout=60))
