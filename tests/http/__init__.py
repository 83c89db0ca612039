"""The clients of other services, against real servers that misbehave."""
