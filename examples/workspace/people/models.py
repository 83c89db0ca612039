"""Who works here, and in which team."""

from django.db import models
from django.db.models.functions import Lower


class Team(models.Model):
    name = models.CharField(max_length=80, unique=True)
    purpose = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Person(models.Model):
    name = models.CharField(max_length=120)
    email = models.EmailField("e-mail")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="people")
    role = models.CharField(max_length=120, blank=True)
    joined = models.DateField()
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name", "pk"]
        verbose_name_plural = "people"
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="person_email_once",
                violation_error_message="Another person has this e-mail address.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def initials(self) -> str:
        words = self.name.split()
        return "".join(word[0] for word in [*words[:1], *words[1:][-1:]]).upper()
