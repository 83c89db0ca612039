"""The front desk: readers sign in and out, and views that show how a request is served."""
