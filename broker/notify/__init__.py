"""
Notify: messages to the customer, by mail and SMS. It owns servers, gateways and the order they are tried in, and what a
phone number may be; it knows neither what a message is for nor who reads it.

`ports.py` is what everybody else sees; addresses, numbers and texts of messages never reach a log, a metric or a repr.
"""
