from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("onloop_rooms", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="key",
            field=models.CharField(default=None, editable=False, max_length=100, null=True),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                condition=models.Q(("key__isnull", False)),
                fields=("room", "sender", "key"),
                name="onloop_rooms_message_key",
            ),
        ),
    ]
