"""Bearer tokens of users: an optional app, `INSTALLED_APPS = [..., "onloop.tokens"]`.

`onloop.middleware.BearerTokenMiddleware` lets requests in by them. The text of a token is told
once, when it is issued; nothing here may store, log or show it afterwards.
"""
