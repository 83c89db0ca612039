"""Books through Django REST framework."""

from rest_framework import serializers, viewsets

from .models import Book


class BookSerializer(serializers.ModelSerializer):
    author_name = serializers.CharField(source="author.name", read_only=True)

    class Meta:
        model = Book
        fields = ["id", "title", "author", "author_name", "published", "price"]


class BookViewSet(viewsets.ModelViewSet):
    # The author comes by one more query for each book: `source="author.name"` is lazy.
    queryset = Book.objects.all()
    serializer_class = BookSerializer
