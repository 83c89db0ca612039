"""`onloop.celery.Task`: the base class by which `async def` functions are Celery's tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from celery.contrib.django.task import DjangoTask

from onloop import bridge, conf
from onloop.asgi.places import Place, place_of
from onloop.celery import bindings, loops
from onloop.celery.execution import awaited, current
from onloop.celery.hops import HoppingBackend, waits_on_loop
from onloop.celery.stacks import ContextStack, by_celery, current_tasks
from onloop.errors import BridgeRequired
from onloop.waiting import running_loop

Make = Callable[[], Coroutine[Any, Any, Any]]

bindings.install()


class Task(DjangoTask):  # type: ignore[misc]
    """A task whose function may be `async def`.

    For a whole app, and the shared tasks of reusable apps in it:
    `Celery("mysite", task_cls="onloop.celery:Task")`. A base class of one's own for tasks is
    derived from this one.
    """

    abstract = True

    is_async = False
    # The `async def` function of an asynchronous task, as it was written.
    _function: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        run: Any = vars(cls).get("run")
        function = run.__func__ if isinstance(run, staticmethod) else run
        if function is None:
            return
        # Of what a decorator made of it, as Celery's for Pydantic, too.
        cls.is_async = iscoroutinefunction(inspect.unwrap(function))
        if cls.is_async:
            cls._function = run  # bound, as `run` was
            completed = _completed(cls, function)
            cls.run = staticmethod(completed) if isinstance(run, staticmethod) else completed

    @classmethod
    def on_bound(cls, app: Any) -> None:
        super().on_bound(app)
        if not isinstance(cls.request_stack, ContextStack):
            cls.request_stack = ContextStack(f"onloop_celery_requests_{cls.name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task: for Celery its code, completed; called as a function, what that does.

        An asynchronous task that is called as a function gives a coroutine to await.
        """
        request = self.request_stack.top
        if request is not None and not request.called_directly and not request._protected:
            request._protected = 1  # the same request comes by once: others are direct calls
            execution = current.get()
            if self.is_async or execution is None or not bridge.active():
                return self.run(*args, **kwargs)
            with execution.inside():
                return self.run(*args, **kwargs)
        if not self.is_async:
            return super().__call__(*args, **kwargs)
        direct = functools.partial(self._called_directly, args, kwargs)
        return loops.run(direct) if by_celery.get() else direct()

    async def _called_directly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = by_celery.set(False)
        current_tasks.push(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            return await self._function(*args, **kwargs)
        finally:
            self.pop_request()
            current_tasks.pop()
            by_celery.reset(token)

    @property
    def place(self) -> Place:
        """Where it runs under `onloop.celery:TaskPool`."""
        if self.is_async:
            return "awaited"
        return place_of(inspect.unwrap(self.run), sync=conf.get().SYNC_TASKS)

    @property
    def backend(self) -> Any:
        """The result backend; in a bridge, one whose methods hop into a thread."""
        backend = super().backend
        if not bridge.active() or waits_on_loop(backend):
            return backend
        return HoppingBackend(self._backend_of_thread)

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def _backend_of_thread(self) -> Any:
        return super().backend


def _completed(cls: type[Task], function: Callable[..., Any]) -> Callable[..., Any]:
    """Make of an `async def` function what Celery's tracer calls, and gets a result from.

    It stands inside of what `autoretry_for` puts around `run`, which expects exceptions.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        make = functools.partial(function, *args, **kwargs)
        task = current_tasks.top
        if not isinstance(task, cls):
            return make()  # `run` is called by itself, not by a tracer
        return complete(make, eager=bool(task.request.is_eager))

    return run


def complete(make: Make, *, eager: bool) -> Any:
    """Run a task's coroutine to its end, wherever the caller is.

    In a bridge it waits there: in a worker's task, or, if eager, in the caller's scope and
    transaction. In a thread of a worker it runs on the loop of the process. Eager in plain code
    it runs as by `async_to_sync`, in the caller's transaction. Eager where a loop runs and no
    bridge does, it runs on the loop of the process, and this one is held meanwhile.
    """
    if bridge.active():
        return awaited(make)
    loop = running_loop()
    if loop is not None and loop is loops.worker_loop().loop:
        raise BridgeRequired(
            "A task was called eagerly in a bare asyncio task on the loop of the worker, which "
            "would wait for itself. Open a scope around it: async with onloop.scope()."
        )
    if not eager or loop is not None:
        return loops.run(make)
    return async_to_sync(_calling(make))()


def _calling(make: Make) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def call() -> Any:
        return await make()

    return call
