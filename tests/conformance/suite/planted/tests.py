"""Tests that pass on Django's own backend, and that Onloop's would be in trouble with."""

from __future__ import annotations

import atexit
import os
import time
import unittest

from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import TestCase


def on_onloop() -> bool:
    return connection.settings_dict["ENGINE"].startswith("onloop.")


class Planted(TestCase):
    def test_a_passes(self):
        ContentType.objects.create(app_label="planted", model="test")
        self.assertTrue(ContentType.objects.filter(app_label="planted").exists())

    async def test_b_passes(self):
        self.assertFalse(await ContentType.objects.filter(app_label="planted").aexists())

    def test_c_where_it_runs(self):
        if on_onloop():
            from onloop import bridge

            self.assertTrue(bridge.active())
            self.assertIsNotNone(connection.scope)

    def test_d_fails(self):
        self.assertFalse(on_onloop())

    def test_e_fails_in_a_subtest(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertFalse(on_onloop() and number == 1)

    def test_f_is_skipped(self):
        if on_onloop():
            self.skipTest("a feature is thought to be missing")

    def test_g_kills_its_process(self):
        if on_onloop():
            os._exit(3)

    def test_h_hangs(self):
        while on_onloop():
            time.sleep(1)

    @unittest.expectedFailure
    def test_i_is_expected_to_fail(self):
        self.fail("on both")

    def test_j_fails_on_both(self):
        self.fail("on both")


class PlantedInTheSetUp(TestCase):
    @classmethod
    def setUpTestData(cls):
        if on_onloop():
            raise LookupError

    def test_it_is_not_reached(self):
        pass


def tearDownModule():
    if on_onloop():  # as a database that cannot be dropped, it is no test that fails
        atexit.register(os._exit, 4)
