from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)

    def __str__(self):
        return self.name


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.CharField(max_length=200)

    def __str__(self):
        return self.title


class Shelf(models.Model):
    """Its first row is written by a migration."""

    label = models.CharField(max_length=50)

    def __str__(self):
        return self.label
