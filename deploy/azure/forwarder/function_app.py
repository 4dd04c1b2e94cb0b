"""The forwarder as an Azure Function (Python programming model v2): one function for each message, one for the beat."""

# ruff: noqa: INP001 - a program by itself, of no package

import azure.functions as func
import forwarder

app = func.FunctionApp()


# Without a retry policy a call that fails is not repeated, and its records are lost.
@app.function_name("forward")
@app.event_hub_message_trigger(
    arg_name="messages", event_hub_name="%BYOK_HUB%", connection="BYOK_HUB_CONNECTION", cardinality="many"
)
@app.retry(
    strategy="exponential_backoff", max_retry_count="-1", minimum_interval="00:00:05", maximum_interval="00:05:00"
)
def forward(messages: list[func.EventHubEvent]) -> None:
    """Pass on what came."""
    forwarder.forward(message.get_body() for message in messages)


@app.function_name("heartbeat")
@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *")
def heartbeat(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the runtime hands it over by this name
    """Tell that this forwarder lives, every five minutes."""
    forwarder.beat()
