"""The example service under load: on Onloop, and on stock Django by its own switch."""
