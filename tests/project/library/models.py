"""Models with each kind of relation that the ORM has."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)

    def __str__(self):
        return self.name


class Tag(models.Model):
    name = models.CharField(max_length=50, unique=True)

    def __str__(self):
        return self.name


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.CharField(max_length=200)
    published = models.DateField()
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    tags = models.ManyToManyField(Tag, related_name="books", blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self):
        return self.title


class Novel(Book):
    """In a table of its own, joined to that of `Book`."""

    genre = models.CharField(max_length=50)


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")
    stars = models.PositiveSmallIntegerField()
    text = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self):
        return f"{self.stars} stars for {self.book}"


class Attachment(models.Model):
    name = models.CharField(max_length=50)
    file = models.FileField(upload_to="attachments")

    class Meta:
        ordering = ["id"]

    def __str__(self):
        return self.name


class Scan(models.Model):
    """A file, kept in the default storage."""

    title = models.CharField(max_length=100, blank=True)
    file = models.FileField(upload_to="scans")

    def __str__(self):
        return self.title
