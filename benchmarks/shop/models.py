"""The two tables, which `benchmarks.postgres` creates."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        db_table = "author"
        managed = False

    def __str__(self):
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=200)
    pages = models.IntegerField()
    published = models.DateField()
    sold = models.IntegerField()
    author = models.ForeignKey(Author, on_delete=models.CASCADE)

    class Meta:
        db_table = "book"
        managed = False

    def __str__(self):
        return self.title

    def as_dict(self):
        return {
            "id": self.pk,
            "title": self.title,
            "pages": self.pages,
            "published": self.published,
            "author_id": self.author_id,
        }

    def with_author(self):
        return {"id": self.pk, "title": self.title, "author": self.author.name}
